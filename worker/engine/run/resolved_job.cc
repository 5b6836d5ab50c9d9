#include "worker/engine/run/resolved_job.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/data/chat/chat_tokens.h"
#include "worker/engine/data/label_order.h"
#include "worker/engine/model/model_parameters.h"
#include "worker/engine/run/recorded_tokens.h"

namespace galleon {

namespace {

// id2label of a config.json.
std::string label_names_json(const LabelSet& labels) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (size_t i = 0; i < labels.names.size(); ++i) json[absl::StrCat(i)] = labels.names[i];
  return json.dump();
}

using Overrides = std::vector<std::pair<std::string, std::string>>;

const std::string* override_of(const RunOptions& options, const char* field) {
  for (const auto& [name, text] : options.model.overrides) {
    if (name == field) return &text;
  }
  return nullptr;
}

// The rows of the folder's embedding where the job asks for more; 0: it does not.
absl::StatusOr<int64_t> grown_vocabulary(const RunOptions& options, const ModelConfig& config) {
  if (override_of(options, "vocab_size") == nullptr) return 0;
  Overrides others = options.model.overrides;
  std::erase_if(others, [](const auto& one) { return one.first == "vocab_size"; });
  ASSIGN_OR_RETURN(ModelConfig own, resolve_model_config(options.model.source, others, 0));
  if (config.vocabulary < own.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat("model.overrides.vocab_size ", config.vocabulary, " is below the ",
                                                   own.vocabulary,
                                                   " of the pretrained folder, whose tokens would be cut off"));
  }
  return config.vocabulary > own.vocabulary ? own.vocabulary : 0;
}

// What comes out of the model is what the data tells apart. A folder that names the same labels keeps its names and its
// order, in which its classifier was trained; else the model gets the data's.
absl::Status fit_labels(const RunOptions& options, int64_t vocabulary, LabelSet& labels, Overrides& overrides) {
  absl::StatusOr<ModelConfig> own = resolve_model_config(options.model.source, overrides, vocabulary);
  const std::vector<std::string> names = own.ok() ? own->label_names : std::vector<std::string>{};
  const std::string count = absl::StrCat(labels.outputs());
  if (const std::string* said = override_of(options, "num_labels"); said != nullptr && *said != count) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.overrides.num_labels ", *said, ": the labels of data.train make ", count));
  }
  const bool asked = override_of(options, "id2label") != nullptr;
  bool keeps_names = false;
  if (options.model.pretrained || asked) {
    if (std::optional<LabelSet> ordered = in_models_order(labels, names, options.data.glue_task)) {
      labels = *std::move(ordered);
      keeps_names = true;
    } else {
      keeps_names = only_numbers(labels) && names.size() == labels.names.size();
    }
  }
  if (asked && !keeps_names) {
    return absl::InvalidArgumentError(absl::StrCat("model.overrides.id2label names ", absl::StrJoin(names, ", "),
                                                   ", and the labels of data.train are ",
                                                   labels.regression ? "numbers" : absl::StrJoin(labels.names, ", ")));
  }
  if (keeps_names) return absl::OkStatus();
  overrides.emplace_back("num_labels", count);
  if (!labels.regression) overrides.emplace_back("id2label", label_names_json(labels));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ResolvedJob> resolve_job(const RunOptions& options) {
  ResolvedJob job;
  if (!options.tokenizer.empty()) {
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(options.tokenizer);
    if (!tokenizer.ok()) return tokenizer.status();
    job.tokenizer = *std::move(tokenizer);
    RETURN_IF_ERROR(use_recorded_tokens(options.tokenizer, *job.tokenizer));
  }
  if (options.data.format == "chat") {
    absl::StatusOr<std::string> text = find_chat_template(options.data.chat_template, options.tokenizer);
    if (!text.ok()) return text.status();
    RETURN_IF_ERROR(ChatTemplate::parse(*text, "the chat template").status());
    job.chat_template = *std::move(text);
  }
  const int64_t vocabulary = job.tokenizer ? job.tokenizer->vocabulary() : 0;
  std::vector<std::pair<std::string, std::string>> overrides = options.model.overrides;
  if (options.data.classify) {
    absl::StatusOr<LabelSet> labels = find_labels(options.data);
    if (!labels.ok()) return labels.status();
    job.labels = *std::move(labels);
    RETURN_IF_ERROR(fit_labels(options, vocabulary, job.labels, overrides));
  }
  absl::StatusOr<ModelConfig> config = resolve_model_config(options.model.source, overrides, vocabulary);
  if (!config.ok()) return config.status();
  job.config = *config;
  if (options.data.classify != config->encoder()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.source: ", options.model.source, " is a ", architecture_name(config->architecture),
                     options.data.classify ? ", which has no head for task: classify; a BERT or a RoBERTa has"
                                           : ", which needs task: classify"));
  }
  if (vocabulary > job.config.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", options.tokenizer, " has ", vocabulary,
                                                   " pieces, and the model's vocab_size is ", job.config.vocabulary,
                                                   "; model.overrides: {vocab_size: ", vocabulary, "} grows it"));
  }
  if (job.tokenizer && job.config.eos_token < 0) {
    job.config.eos_token = job.tokenizer->end_token();
    job.config.bos_token = job.tokenizer->begin_token();
  }
  if (options.model.pretrained) {
    ASSIGN_OR_RETURN(job.grown_from, grown_vocabulary(options, job.config));
    std::vector<std::string> fresh;
    const absl::Status found = check_weights(options.model.source, model_parameters(job.config, std::nullopt),
                                             job.config.encoder() ? &fresh : nullptr, job.grown_from);
    if (!found.ok()) return absl::Status(found.code(), absl::StrCat("model.source: ", found.message()));
  }
  const int64_t positions = options.data.sequence_length;
  if (absl::StartsWith(options.model.source, "preset:"))
    job.config.max_positions = std::max(job.config.max_positions, positions);
  if (positions > job.config.longest_sequence()) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.sequence_length ", positions,
                     " is longer than the model's positions allow: ", job.config.longest_sequence()));
  }
  return job;
}

absl::StatusOr<EngineShape> engine_shape(const RunOptions& options, const ModelConfig& config, int64_t ranks) {
  absl::StatusOr<int64_t> passes = micro_batches_per_rank(options.global_batch, options.micro_batch, ranks);
  if (!passes.ok()) return passes.status();
  if (options.kept_inputs > config.layers) {
    return absl::InvalidArgumentError(absl::StrCat("training.kept_inputs ", options.kept_inputs, " is more than the ",
                                                   config.layers, " blocks of the model"));
  }
  if (options.optimizer.muon.split_heads) {
    for (const Parameter& p : model_parameters(config, options.optimizer.galore)) {
      if (p.head_rows == 0 || (!p.transposed && !p.two_sided)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("optimizer.muon.split_heads: the rows of ", p.name,
                       " are its projected side, which mixes heads; optimizer.galore.side: right projects the other"));
    }
  }
  if (options.optimizer.rule == MomentRule::kScale && config.tied_embeddings) {
    return absl::InvalidArgumentError(
        "optimizer.rule: scale tells the embedding from the head, and they are one matrix here; model.overrides: "
        "{tie_word_embeddings: false}, or another rule");
  }
  EngineShape shape;
  shape.config = config;
  shape.optimizer = options.optimizer;
  shape.weights = options.weights;
  shape.z_loss = options.z_loss;
  shape.sequence_length = options.data.sequence_length;
  shape.micro_batch = options.micro_batch;
  shape.micro_batches = *passes;
  shape.recompute = options.recompute;
  shape.kept_inputs = options.kept_inputs;
  shape.dropout_seed = options.model.seed;
  return shape;
}

}  // namespace galleon
