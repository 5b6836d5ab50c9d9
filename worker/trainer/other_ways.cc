#include "worker/trainer/other_ways.h"

#include <functional>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/trainer/memory_messages.h"

namespace galleon {

namespace {

v1::OtherWay message_of(const std::string& name, const RankEstimate& estimate) {
  v1::OtherWay way;
  way.set_name(name);
  set_categories(estimate.by_category, *way.mutable_memory());
  way.set_peak_bytes(estimate.peak_bytes);
  set_wire_bytes(estimate.sent_step, *way.mutable_wire_step());
  return way;
}

// One change: what it is in words of the job file, nothing if it changes nothing here.
using Change = std::function<std::optional<std::string>(EngineShape&)>;

// The least costly first: what computes the same, what computes the same more slowly, what rounds more.
std::vector<Change> changes(int ranks) {
  auto zero = [ranks](int stage) -> Change {
    return [ranks, stage](EngineShape& shape) -> std::optional<std::string> {
      if (ranks == 1 || shape.optimizer.zero >= stage) return std::nullopt;
      shape.optimizer.zero = stage;
      return absl::StrCat("parallel.zero: ", stage);
    };
  };
  auto halved = [](EngineShape& shape) -> std::optional<std::string> {
    if (shape.micro_batch % 2 != 0) return std::nullopt;
    shape.micro_batch /= 2;
    shape.micro_batches *= 2;
    return absl::StrCat("training.micro_batch: ", shape.micro_batch);
  };
  auto quartered = [halved](EngineShape& shape) -> std::optional<std::string> {
    if (shape.micro_batch % 4 != 0) return std::nullopt;
    halved(shape);
    return halved(shape);
  };
  return {zero(2),
          [](EngineShape& shape) -> std::optional<std::string> {
            if (shape.recompute) return std::nullopt;
            shape.recompute = true;
            return "training.recompute: block";
          },
          [](EngineShape& shape) -> std::optional<std::string> {
            if (!shape.recompute || shape.kept_inputs > 0 || shape.config.layers < 4) return std::nullopt;
            shape.kept_inputs = shape.config.layers / 2;
            return absl::StrCat("training.kept_inputs: ", shape.kept_inputs);
          },
          zero(3), halved, quartered,
          [](EngineShape& shape) -> std::optional<std::string> {
            if (shape.optimizer.per_layer || shape.optimizer.clip_norm > 0) return std::nullopt;
            shape.optimizer.per_layer = true;
            return "optimizer.update: per_layer";
          },
          [](EngineShape& shape) -> std::optional<std::string> {
            if (!shape.optimizer.galore || shape.optimizer.galore->basis_type == BasisType::kInt8 ||
                shape.optimizer.galore->basis_type == BasisType::kInt4) {
              return std::nullopt;
            }
            shape.optimizer.galore->basis_type = BasisType::kInt8;
            return "optimizer.galore.basis_type: int8";
          },
          [](EngineShape& shape) -> std::optional<std::string> {
            if (shape.optimizer.state_type == StateType::kFlash) return std::nullopt;
            if (shape.optimizer.rule == MomentRule::kMuon) {
              shape.optimizer.rule = MomentRule::kMuon8bit;
              return "optimizer.rule: muon8bit";
            }
            if (shape.optimizer.rule != MomentRule::kAdamW) return std::nullopt;
            shape.optimizer.rule = MomentRule::kAdam8bit;
            return "optimizer.rule: adam8bit";
          },
          [](EngineShape& shape) -> std::optional<std::string> {
            if (shape.weights.master != MasterWeights::kFp32) return std::nullopt;
            shape.weights.master = MasterWeights::kFp24;
            return "training.master_weights: fp24";
          },
          [](EngineShape& shape) -> std::optional<std::string> {
            if (shape.weights.type == DataType::kBFloat16) return std::nullopt;
            shape.weights = {DataType::kBFloat16};
            return "training.precision: bf16";
          },
          // Sums of products of bf16 factors alone.
          [](EngineShape& shape) -> std::optional<std::string> {
            if (shape.weights.type != DataType::kBFloat16 || shape.optimizer.accumulate_type == DataType::kBFloat16)
              return std::nullopt;
            shape.optimizer.accumulate_type = DataType::kBFloat16;
            return "training.accumulate_type: bf16";
          }};
}

}  // namespace

absl::StatusOr<std::vector<v1::OtherWay>> other_ways(const EngineShape& shape, absl::string_view device_kind,
                                                     int ranks) {
  EngineShape full = shape;
  full.optimizer.galore.reset();
  full.optimizer.lora.reset();
  full.optimizer.rule = MomentRule::kAdamW;
  full.optimizer.state_type = StateType::kOfRule;
  full.optimizer.per_layer = false;
  full.optimizer.zero = 1;
  ASSIGN_OR_RETURN(RankEstimate alone, dry_run(full, device_kind, 0, 1));
  const int64_t numbers = shape.config.parameters();
  alone.sent_step = SentBytes{};
  alone.sent_step.of(Collective::kAllReduce, Content::kDenseGradient) =
      2 * (ranks - 1) * numbers * bytes_of(shape.optimizer.wire_type) / ranks;
  std::vector<v1::OtherWay> ways{message_of("AdamW, dense data parallelism", alone)};
  for (int stage = 1; ranks > 1 && stage <= 3; ++stage) {
    full.optimizer.zero = stage;
    ASSIGN_OR_RETURN(RankEstimate estimate, dry_run(full, device_kind, 0, ranks));
    ways.push_back(message_of(absl::StrCat("AdamW, ZeRO ", stage), estimate));
  }
  return ways;
}

absl::StatusOr<std::vector<v1::FittingChange>> fitting_changes(const EngineShape& shape, absl::string_view device_kind,
                                                               int ranks, int64_t process, int64_t available) {
  std::vector<v1::FittingChange> found;
  auto needed = [&](const EngineShape& changed) -> absl::StatusOr<int64_t> {
    ASSIGN_OR_RETURN(RankEstimate estimate, dry_run(changed, device_kind, 0, ranks));
    return estimate.peak_bytes + process;
  };
  for (const Change& change : changes(ranks)) {
    EngineShape changed = shape;
    const std::optional<std::string> key = change(changed);
    if (!key.has_value()) continue;
    ASSIGN_OR_RETURN(int64_t bytes, needed(changed));
    if (bytes > available) continue;
    v1::FittingChange message;
    message.add_keys(*key);
    message.set_bytes(bytes);
    found.push_back(std::move(message));
  }
  if (!found.empty()) return found;
  EngineShape changed = shape;
  v1::FittingChange message;
  for (const Change& change : changes(ranks)) {
    const std::optional<std::string> key = change(changed);
    if (!key.has_value()) continue;
    // Of two values of one key the later one counts.
    const std::string name = key->substr(0, key->find(':') + 1);
    auto* keys = message.mutable_keys();
    if (!keys->empty() && keys->rbegin()->substr(0, name.size()) == name) keys->RemoveLast();
    for (int i = 0; i < keys->size(); ++i) {
      if (keys->Get(i).substr(0, name.size()) == name) keys->DeleteSubrange(i, 1);
    }
    message.add_keys(*key);
    ASSIGN_OR_RETURN(int64_t bytes, needed(changed));
    if (bytes > available) continue;
    message.set_bytes(bytes);
    found.push_back(std::move(message));
    break;
  }
  return found;
}

}  // namespace galleon
