#include "worker/engine/run/adapter_base.h"

#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "kernels/math/bfloat16.h"
#include "worker/engine/checkpoint/adapters.h"
#include "worker/engine/checkpoint/model_weights.h"
#include "worker/engine/checkpoint/safetensors.h"

namespace galleon {

namespace {

using Json = nlohmann::json;

// What of a shape the logits of given tokens do not depend on, or what the adapter brings itself: its classifier.
const std::set<std::string> kIdle = {"architectures",
                                     "bos_token_id",
                                     "eos_token_id",
                                     "initializer_range",
                                     "hidden_dropout_prob",
                                     "attention_probs_dropout_prob",
                                     "classifier_dropout",
                                     "id2label",
                                     "label2id",
                                     "problem_type"};

Json shape_of(ModelConfig config) {
  config.kept = {};
  if (config.architecture != Architecture::kRoberta) config.pad_token = -1;  // RoBERTa counts positions from it
  return Json::parse(model_config_to_json(config, "float32"));
}

std::string changed_fields(const ModelConfig& trained, const ModelConfig& own) {
  const Json now = shape_of(trained);
  const Json then = shape_of(own);
  std::vector<std::string> changed;
  for (const auto& [field, value] : now.items()) {
    if (!kIdle.contains(field) && value != then.value(field, Json())) changed.push_back(field);
  }
  return absl::StrJoin(changed, ", ");
}

absl::Status compare(const RunOptions& options, const std::vector<Parameter>& parameters,
                     const std::string& step_folder) {
  const std::string adapters_path = absl::StrCat(step_folder, "/", kAdaptersFile);
  ASSIGN_OR_RETURN(const SafetensorsReader adapted, SafetensorsReader::open(adapters_path));
  ASSIGN_OR_RETURN(const SafetensorsReader rest, SafetensorsReader::open(step_folder + "/model.safetensors"));
  std::vector<std::string> fresh;
  return visit_weights(
      options.model.source, parameters,
      [&](const Parameter& p, std::vector<float> values) -> absl::Status {
        if (p.trained >= 0) return absl::OkStatus();
        std::vector<float> frozen(values.size());
        RETURN_IF_ERROR(
            (p.adapter >= 0 ? adapted : rest).read(p.name, 0, static_cast<int64_t>(frozen.size()), frozen.data()));
        if (p.shard.type == DataType::kBFloat16) {
          for (float& v : values) v = math::to_float(math::to_bfloat16(v));
        }
        if (frozen == values) return absl::OkStatus();
        return absl::FailedPreconditionError(absl::StrCat(p.name, " is another there than in ", step_folder));
      },
      &fresh);
}

std::string why_no_base(const RunOptions& options, const ResolvedJob& job) {
  if (!options.model.pretrained)
    return "the frozen matrices began at random (model.init: random), and no folder holds them";
  if (job.grown_from > 0) {
    return absl::StrCat("model.overrides.vocab_size ", job.config.vocabulary, " is more than the ", job.grown_from,
                        " of ", options.model.name());
  }
  const absl::StatusOr<ModelConfig> own = resolve_model_config(options.model.source, {}, 0);
  if (!own.ok()) return std::string(own.status().message());
  const std::string changed = changed_fields(job.config, *own);
  if (changed.empty()) return "";
  return absl::StrCat("model.overrides make another model of ", options.model.name(), ": ", changed);
}

std::string why_another_base(const RunOptions& options, const std::vector<Parameter>& parameters,
                             const std::string& step_folder) {
  const absl::Status same = compare(options, parameters, step_folder);
  if (same.ok()) return "";
  return absl::StrCat("model.source, ", options.model.name(),
                      ", is no longer what the run began from: ", same.message());
}

}  // namespace

absl::StatusOr<std::string> why_no_adapters(const RunOptions& options, const ResolvedJob& job,
                                            const std::vector<Parameter>& parameters, const std::string& step_folder,
                                            Communicator& communicator) {
  std::string why;
  if (communicator.rank() == 0) {
    why = why_no_base(options, job);
    if (why.empty() && !step_folder.empty()) why = why_another_base(options, parameters, step_folder);
  }
  why = communicator.all_gather_text(why)[0];
  RETURN_IF_ERROR(communicator.status());
  return why;
}

}  // namespace galleon
