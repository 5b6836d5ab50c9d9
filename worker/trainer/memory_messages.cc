#include "worker/trainer/memory_messages.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/status_macros.h"
#include "worker/engine/optim/rules.h"
#include "worker/engine/run/prediction.h"
#include "worker/trainer/other_ways.h"

namespace galleon {

namespace {

// Beside the ledger a process holds its libraries, stacks, and the packing buffers of products, of which each thread
// touches only what its matrices need. Peak resident bytes beyond the ledger's peak, as measured with oneDNN 2.6.3 on
// two cores of an AMD EPYC with AVX-512, in MiB with one thread and with two: tiny 29 and 30, llama-20m 31 and 31 with
// 256 tokens a pass, 49 with two threads and 1,024 tokens, llama-60m 35 and 38. How many threads a rank will have is
// the worker's matter and not known to a plan, so one figure stands for all; where it is too small it is so by a few
// per cent of a small model. Data take no part: text is tokenized piece by piece into a file, and token files are
// mapped, whose pages the kernel takes back.
constexpr int64_t kProcessBaseBytes = 40LL << 20;
// What is under way while text is tokenized, at most: measured on 1 to 256 MiB of text with llama-20m, 1, 7, 14 and 17
// MiB beyond the above with bytes as tokens, 4, 1, 5 and 9 MiB with SentencePiece.
constexpr int64_t kTokenizingBytes = 12LL << 20;
// Of the card's memory beside the ledger: CUDA's context, the code of the kernels, the libraries' handles. A reserve,
// not a measurement: tests/gpu prints what a card really holds.
constexpr int64_t kCudaBaseBytes = 768LL << 20;

// Moments at full rank, one rank's share: of the same rule, or of AdamW where that keeps little by itself.
absl::StatusOr<int64_t> full_rank_states(const EngineShape& shape, absl::string_view device_kind, int rank, int ranks) {
  EngineShape full = shape;
  full.optimizer.galore.reset();
  full.optimizer.lora.reset();
  full.optimizer.rule = kind_of(full.optimizer.rule).beside;
  ASSIGN_OR_RETURN(RankEstimate estimate, dry_run(full, device_kind, rank, ranks));
  return estimate.by_category[static_cast<int>(MemoryCategory::kOptimizerStates)];
}

// 1 − (states of all ranks + bases once) / full-rank states of all ranks.
double saved_ratio(double states, double subspaces, double full) {
  return full > 0 ? 1.0 - (states + subspaces) / full : 0.0;
}

}  // namespace

void set_wire_bytes(const SentBytes& sent, v1::WireBytes& message) {
  message.set_reduce_scatter(sent.of(Collective::kReduceScatter));
  message.set_all_gather(sent.of(Collective::kAllGather));
  message.set_all_reduce(sent.of(Collective::kAllReduce));
  message.set_reduce(sent.of(Collective::kReduce));
  message.set_broadcast(sent.of(Collective::kBroadcast));
  message.set_projected_gradient(sent.of(Content::kProjectedGradient));
  message.set_update(sent.of(Content::kUpdate));
  message.set_dense_gradient(sent.of(Content::kDenseGradient));
  message.set_projected_dense(sent.of(Content::kProjectedDense));
  message.set_weight(sent.of(Content::kWeight));
  message.set_statistic(sent.of(Content::kStatistic));
  message.set_subspace(sent.of(Content::kSubspace));
}

void set_categories(const int64_t (&bytes)[kMemoryCategories], v1::MemoryByCategory& message) {
  auto of = [&](MemoryCategory category) { return static_cast<uint64_t>(bytes[static_cast<int>(category)]); };
  message.set_weights(of(MemoryCategory::kWeights));
  message.set_gradients(of(MemoryCategory::kGradients));
  message.set_optimizer_states(of(MemoryCategory::kOptimizerStates));
  message.set_subspaces(of(MemoryCategory::kSubspaces));
  message.set_activations(of(MemoryCategory::kActivations));
  message.set_workspace(of(MemoryCategory::kWorkspace));
}

absl::StatusOr<v1::MemoryPlan> plan_message(const EngineShape& shape, absl::string_view device_kind, int ranks,
                                            int64_t text_bytes, int64_t available) {
  v1::MemoryPlan plan;
  double states = 0;
  double subspaces = 0;
  int64_t full = 0;
  double flops = 0;
  int64_t largest = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    ASSIGN_OR_RETURN(RankEstimate estimate, dry_run(shape, device_kind, rank, ranks));
    v1::RankPlan& message = *plan.add_ranks();
    message.set_rank(rank);
    set_categories(estimate.by_category, *message.mutable_memory());
    message.set_peak_bytes(estimate.peak_bytes);
    largest = std::max(largest, estimate.peak_bytes);
    states += static_cast<double>(message.memory().optimizer_states());
    subspaces = static_cast<double>(message.memory().subspaces());
    flops += estimate.step_flops;
    ASSIGN_OR_RETURN(int64_t share, full_rank_states(shape, device_kind, rank, ranks));
    full += share;
    set_wire_bytes(estimate.sent_step, *message.mutable_wire_step());
    set_wire_bytes(estimate.sent_mean(), *message.mutable_wire_mean());
  }
  *plan.mutable_wire_step() = plan.ranks(0).wire_step();
  *plan.mutable_wire_mean() = plan.ranks(0).wire_mean();
  const int64_t parameters = shape.config.parameters();
  plan.set_wire_dense_bytes(2 * (ranks - 1) * parameters * bytes_of(shape.optimizer.wire_type) / ranks);
  plan.set_parameters(parameters);
  plan.set_optimizer_full_rank_bytes(full);
  plan.set_saved_ratio(saved_ratio(states, subspaces, static_cast<double>(full)));
  plan.set_step_flops(flops);
  plan.set_process_base_bytes(device_kind == "cuda" ? kCudaBaseBytes
                                                    : kProcessBaseBytes + std::min(kTokenizingBytes, text_bytes));
  plan.set_device(std::string(device_kind));
  ASSIGN_OR_RETURN(std::vector<v1::OtherWay> ways, other_ways(shape, device_kind, ranks));
  plan.mutable_other_ways()->Add(ways.begin(), ways.end());
  const auto process = static_cast<int64_t>(plan.process_base_bytes());
  plan.set_required_bytes(largest + process);
  plan.set_available_bytes(available);
  if (available > 0 && largest + process > available) {
    ASSIGN_OR_RETURN(std::vector<v1::FittingChange> fits,
                     fitting_changes(shape, device_kind, ranks, process, available));
    plan.mutable_fitting_changes()->Add(fits.begin(), fits.end());
  }
  return plan;
}

absl::StatusOr<v1::StepPrediction> prediction_message(const EngineShape& shape, const std::string& card, int ranks) {
  ASSIGN_OR_RETURN(const CardRates rates, card_rates(card));
  ASSIGN_OR_RETURN(const StepPrediction step, predict_step(shape, rates, ranks));
  v1::StepPrediction message;
  message.set_card(rates.name);
  message.set_source(rates.source);
  message.set_products(step.products);
  message.set_attention(step.attention);
  message.set_memory_bound(step.memory_bound);
  message.set_optimizer(step.optimizer);
  message.set_refresh(step.refresh);
  message.set_wire(step.wire);
  message.set_step(step.step());
  const auto tokens = static_cast<double>(shape.micro_batch * shape.micro_batches * shape.sequence_length * ranks);
  message.set_tokens_per_second(step.step() > 0 ? tokens / step.step() : 0);
  return message;
}

absl::StatusOr<v1::MemoryPlan> ledger_message(const EngineShape& shape, absl::string_view device_kind,
                                              const Ledger& ledger, int rank, int ranks) {
  v1::MemoryPlan plan;
  v1::RankPlan& message = *plan.add_ranks();
  message.set_rank(rank);
  int64_t bytes[kMemoryCategories];
  for (int i = 0; i < kMemoryCategories; ++i) bytes[i] = ledger.bytes(static_cast<MemoryCategory>(i));
  set_categories(bytes, *message.mutable_memory());
  message.set_peak_bytes(ledger.peak());
  plan.set_parameters(shape.config.parameters());
  // Shares of the other ranks by their plan; this one's are counted.
  double states = static_cast<double>(message.memory().optimizer_states());
  int64_t full = 0;
  for (int other = 0; other < ranks; ++other) {
    ASSIGN_OR_RETURN(int64_t share, full_rank_states(shape, device_kind, other, ranks));
    full += share;
    if (other == rank) continue;
    ASSIGN_OR_RETURN(RankEstimate estimate, dry_run(shape, device_kind, other, ranks));
    states += static_cast<double>(estimate.by_category[static_cast<int>(MemoryCategory::kOptimizerStates)]);
  }
  plan.set_optimizer_full_rank_bytes(full);
  plan.set_saved_ratio(
      saved_ratio(states, static_cast<double>(message.memory().subspaces()), static_cast<double>(full)));
  plan.set_device(std::string(device_kind));
  return plan;
}

}  // namespace galleon
