#include "worker/trainer/resolve.h"

#include <google/protobuf/util/message_differencer.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "proto/jobfile/jobfile.h"
#include "worker/engine/data/files.h"
#include "worker/engine/run/brought_inputs.h"
#include "worker/engine/run/options_from_job.h"
#include "worker/engine/run/training.h"

namespace galleon {

absl::StatusOr<v1::Job> read_job(const std::string& path) {
  if (absl::EndsWith(path, ".yaml") || absl::EndsWith(path, ".yml")) return load_job_file(path);
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  v1::Job job;
  if (!job.ParseFromString(text))
    return absl::InvalidArgumentError(absl::StrCat(path, " is neither a YAML job file nor a Job message"));
  return job;
}

namespace {

ModelConfig plain_llama(const v1::ModelShape& shape) {
  ModelConfig c;
  c.vocabulary = shape.vocabulary();
  c.hidden = shape.hidden();
  c.intermediate = shape.intermediate();
  c.layers = shape.layers();
  c.heads = shape.heads();
  c.key_value_heads = shape.key_value_heads();
  c.head_dimension = shape.head_dimension();
  c.max_positions = shape.max_positions();
  c.norm_epsilon = shape.norm_epsilon();
  c.rope_theta = shape.rope_theta();
  c.tied_embeddings = shape.tied_embeddings();
  c.initializer_range = shape.initializer_range();
  return c;
}

}  // namespace

v1::ModelShape shape_message(const ModelConfig& c) {
  v1::ModelShape shape;
  shape.set_architecture(std::string(architecture_name(c.architecture)));
  shape.set_vocabulary(c.vocabulary);
  shape.set_hidden(c.hidden);
  shape.set_intermediate(c.intermediate);
  shape.set_layers(c.layers);
  shape.set_heads(c.heads);
  shape.set_key_value_heads(c.key_value_heads);
  shape.set_head_dimension(c.head_dimension);
  shape.set_max_positions(c.max_positions);
  shape.set_norm_epsilon(c.norm_epsilon);
  shape.set_rope_theta(c.rope_theta);
  shape.set_tied_embeddings(c.tied_embeddings);
  shape.set_initializer_range(c.initializer_range);
  shape.set_parameters(c.parameters());
  // Special tokens are the tokenizer's matter.
  ModelConfig bare = c;
  bare.kept = {};
  if (!c.encoder()) bare.bos_token = bare.eos_token = bare.pad_token = -1;
  if (bare != plain_llama(shape)) shape.set_config(model_config_to_json(bare, "float32"));
  return shape;
}

absl::StatusOr<ModelConfig> config_from_shape(const v1::ModelShape& shape) {
  // Whoever sends a job sends its shape too: it has to be what a config.json might say.
  const std::string json =
      shape.config().empty() ? model_config_to_json(plain_llama(shape), "float32") : shape.config();
  return model_config_from_json(json, "the model's shape", {});
}

absl::Status check_shape(const v1::Job& job, const ModelConfig& found) {
  if (!job.has_shape()) return absl::OkStatus();
  const v1::ModelShape here = shape_message(found);
  std::string differences;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&differences);
  if (differencer.Compare(job.shape(), here)) return absl::OkStatus();
  for (char& c : differences) c = c == '\n' ? ' ' : c;
  return absl::FailedPreconditionError(
      absl::StrCat("the files of ", job.model().source(),
                   " and the tokenizer give another model than the job was submitted with: ", differences));
}

namespace {

absl::StatusOr<v1::Job> with_shape(const v1::Job& job, const RunOptions& options) {
  ASSIGN_OR_RETURN(ResolvedJob resolved, resolve_job(options));
  if (absl::StatusOr<EngineShape> shape = engine_shape(options, resolved.config, job.parallel().ranks()); !shape.ok())
    return shape.status();
  v1::Job complete = job;
  *complete.mutable_shape() = shape_message(resolved.config);
  return complete;
}

absl::Status check_data(const DataOptions& data) {
  absl::Status found;
  for (const auto& [globs, key] : {std::pair(data.train, "data.train"), std::pair(data.validation, "data.validation")})
    found.Update(expand_globs(globs, key).status());
  return found;
}

}  // namespace

absl::StatusOr<v1::Job> resolve(const v1::Job& job) {
  RunOptions options = options_from_job(job, ".");
  ASSIGN_OR_RETURN(const BroughtInputs brought, BroughtInputs::bring(options, CopiedWeights::kHeaders));
  absl::StatusOr<v1::Job> complete = with_shape(job, options);
  if (!complete.ok()) return brought.told(complete.status());
  RETURN_IF_ERROR(check_data(options.data));
  return complete;
}

absl::StatusOr<v1::Job> resolve_for_plan(const v1::Job& job, std::vector<std::string>& notes) {
  RunOptions options = options_from_job(job, ".");
  const bool preset = absl::StartsWith(options.model.source, "preset:");
  if (!preset) return resolve(job);
  RETURN_IF_ERROR(BroughtInputs::bring(options, CopiedWeights::kNone).status());
  const std::string tokenizer = options.tokenizer;
  if (!tokenizer.empty() && tokenizer != "bytes" && !std::filesystem::exists(tokenizer)) options.tokenizer.clear();
  ASSIGN_OR_RETURN(v1::Job complete, with_shape(job, options));
  if (options.tokenizer != tokenizer) {
    notes.push_back(absl::StrCat("tokenizer: ", tokenizer, " does not exist; planned with the vocabulary of ",
                                 options.model.source, ", ", complete.shape().vocabulary()));
  }
  if (absl::Status s = check_data(options.data); !s.ok())
    notes.push_back(absl::StrCat(s.message(), "; planned without what reading it takes"));
  return complete;
}

}  // namespace galleon
