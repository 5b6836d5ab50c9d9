// A Job message as a caller may send it with a shape, any of its numbers and words changed: refused, or planned as the
// scheduler's planner does. The first byte chooses a job; each four after it are one change: which field (2), and what
// it becomes (2).
#include <vector>

#include "galleon/v1/job.pb.h"
#include "message_changes.h"
#include "proto/jobfile/jobfile.h"
#include "worker/engine/model/model_config.h"
#include "worker/engine/run/options_from_job.h"
#include "worker/engine/run/resolved_job.h"
#include "worker/trainer/memory_messages.h"
#include "worker/trainer/resolve.h"

namespace {

using galleon::v1::Job;

constexpr const char* kJobFiles[] = {
    R"(
name: galore
task: pretrain
model: {source: "preset:tiny"}
tokenizer: /data/tokenizer.model
data: {train: ["/data/train.txt"], validation: ["/data/validation.txt"], sequence_length: 64}
optimizer: {rule: adamw, learning_rate: 0.01, galore: {rank: 16, refresh_interval: 20}}
training: {steps: 10, global_batch: 4, micro_batch: 2}
parallel: {ranks: 2, zero: 2}
)",
    R"(
name: eight-bit
task: pretrain
model: {source: "preset:tiny"}
tokenizer: /data/tokenizer.model
data: {train: ["/data/train.txt"], sequence_length: 32}
optimizer: {rule: adam8bit, learning_rate: 0.01, update: per_layer, galore: {rank: 8}}
training: {steps: 10, global_batch: 4, micro_batch: 1, precision: bf16}
)",
    R"(
name: lora
task: pretrain
model: {source: "preset:tiny"}
tokenizer: /data/tokenizer.model
data: {train: ["/data/train.txt"], sequence_length: 64}
optimizer: {rule: adamw, learning_rate: 0.01, lora: {rank: 4}}
training: {epochs: 2, global_batch: 4, micro_batch: 1}
parallel: {ranks: 4, zero: 3}
)",
};

std::vector<Job> jobs() {
  std::vector<Job> all;
  for (const char* file : kJobFiles) {
    absl::StatusOr<Job> job = galleon::parse_job(file, "job.yaml", "");
    const absl::StatusOr<galleon::ModelConfig> config = galleon::model_preset("tiny");
    if (!job.ok() || !config.ok()) __builtin_trap();
    *job->mutable_shape() = galleon::shape_message(*config);
    all.push_back(*std::move(job));
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<Job>& given = *new std::vector<Job>(jobs());
  if (size == 0) return 0;
  Job job = given[data[0] % given.size()];
  for (size_t at = 1; at + 4 <= size && at < 64; at += 4) galleon::change_message(job, data + at, {"q_proj"});
  if (!job.has_shape() || !galleon::validate_job(job).ok()) return 0;
  const absl::StatusOr<galleon::ModelConfig> config = galleon::config_from_shape(job.shape());
  if (!config.ok()) return 0;
  const auto ranks = static_cast<int>(job.parallel().ranks());
  const absl::StatusOr<galleon::EngineShape> shape =
      galleon::engine_shape(galleon::options_from_job(job, "."), *config, ranks);
  if (!shape.ok()) return 0;
  const absl::StatusOr<galleon::v1::MemoryPlan> plan = galleon::plan_message(*shape, "cpu", ranks, 0, 0);
  // What is planned has ranks and parameters.
  if (plan.ok() && (plan->ranks().empty() || plan->parameters() == 0)) __builtin_trap();
  return 0;
}
