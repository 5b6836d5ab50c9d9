#include "tests/gpu/suite/shapes.h"

namespace galleon::gpu {

EngineShape suite_shape(const char* preset, int64_t sequence, int64_t sequences, int64_t rank) {
  EngineShape shape;
  shape.config = *model_preset(preset);
  shape.config.vocabulary = 32000;
  shape.sequence_length = sequence;
  shape.micro_batch = sequences;
  shape.micro_batches = 1;
  shape.weights.type = DataType::kBFloat16;
  shape.optimizer.learning_rate = 1e-4;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = 1;
  if (rank > 0) {
    shape.optimizer.galore = GaloreOptions{};
    shape.optimizer.galore->rank = rank;
    shape.optimizer.galore->refresh_interval = kRefreshInterval;
    shape.optimizer.galore->basis_type = BasisType::kBf16;
    shape.optimizer.galore->stagger = false;
  }
  return shape;
}

std::vector<Method> methods_1b() {
  std::vector<Method> all;
  const auto add = [&](const char* name, MomentRule rule, int64_t galore_rank, int64_t projection_rank) {
    EngineShape shape = suite_shape("llama-1b", 1024, 8, galore_rank);
    shape.optimizer.rule = rule;
    if (rule == MomentRule::kMuon || rule == MomentRule::kMuon8bit) shape.optimizer.momentum = 0.95;
    if (projection_rank > 0) {
      shape.optimizer.projection.rank = projection_rank;
      shape.optimizer.projection.refresh_interval = kRefreshInterval;
      shape.optimizer.projection.scale = rule == MomentRule::kApolloMini ? 128 : rule == MomentRule::kFira ? 0.25 : 1;
    }
    all.push_back({name, shape});
  };
  add("galore_adamw", MomentRule::kAdamW, 512, 0);
  add("galore_muon", MomentRule::kMuon, 512, 0);
  add("muon", MomentRule::kMuon, 0, 0);
  add("muon8bit", MomentRule::kMuon8bit, 0, 0);
  add("scale", MomentRule::kScale, 0, 0);
  add("apollo", MomentRule::kApollo, 0, 512);
  add("apollo_mini", MomentRule::kApolloMini, 0, 1);
  add("fira", MomentRule::kFira, 0, 512);
  return all;
}

EngineShape recipe_7b(BasisType bases) {
  EngineShape shape = suite_shape("llama-7b", 256, 16, 1024);
  shape.optimizer.rule = MomentRule::kAdam8bit;
  shape.optimizer.epsilon = 1e-8;
  shape.optimizer.per_layer = true;
  shape.optimizer.galore->basis_type = bases;
  shape.recompute = true;
  shape.kept_inputs = bases == BasisType::kInt8 ? 18 : 20;
  return shape;
}

std::optional<EngineShape> full_rank_7b(int64_t bytes) {
  for (const int64_t sequences : {16, 8, 4, 2}) {
    EngineShape shape = suite_shape("llama-7b", 1024, sequences, 0);
    shape.optimizer.per_layer = true;
    const absl::StatusOr<RankEstimate> plan = dry_run(shape, "cuda", 0, 1);
    if (plan.ok() && plan->peak_bytes <= bytes) return shape;
  }
  return std::nullopt;
}

}  // namespace galleon::gpu
