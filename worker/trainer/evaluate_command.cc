#include "worker/trainer/evaluate_command.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/chat/chat_tokens.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/label_order.h"
#include "worker/engine/run/evaluation.h"
#include "worker/trainer/loaded_model.h"

namespace galleon {

namespace {

// A folder that is gone with its owner.
class TemporaryFolder {
 public:
  ~TemporaryFolder() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  absl::Status make() {
    std::error_code error;
    std::string pattern = (std::filesystem::temp_directory_path(error) / "galleon-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return errno_status("cannot create", pattern, errno);
    path_ = pattern;
    return absl::OkStatus();
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Entropy in nats of the single targets of an evaluation, the first `tokens` of the store: what a model without
// context can reach on them.
absl::StatusOr<double> unigram_entropy(SequenceStore& store, int64_t tokens, int64_t vocabulary) {
  std::vector<int64_t> counts(vocabulary, 0);
  int64_t total = 0;
  Sequence sequence;
  for (int64_t i = 0; total < tokens; ++i) {
    RETURN_IF_ERROR(store.read(i, sequence));
    for (const int32_t id : sequence.targets) {
      if (id < 0) continue;
      ++counts[id];
      ++total;
    }
  }
  double entropy = 0;
  for (const int64_t count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / static_cast<double>(total);
    entropy -= p * std::log(p);
  }
  return entropy;
}

// The labels that a model's outputs stand for, and that the data may have: a GLUE task's in the order in which the
// model names them.
absl::StatusOr<LabelSet> labels_of(const EvaluateOptions& options, const ModelConfig& config) {
  LabelSet labels;
  labels.regression = config.regression();
  labels.names = config.label_names;
  for (int64_t i = 0; !labels.regression && config.label_names.empty() && i < config.labels; ++i)
    labels.names.push_back(absl::StrCat(i));
  if (options.glue_task.empty()) return labels;
  absl::StatusOr<GlueTask> task = glue_task(options.glue_task);
  if (!task.ok()) return absl::InvalidArgumentError(absl::StrCat("--glue-task: ", task.status().message()));
  if (task->labels.outputs() != config.labels) {
    return absl::InvalidArgumentError(absl::StrCat(options.model, " has ", config.labels,
                                                   config.labels == 1 ? " output" : " outputs", ", and ",
                                                   options.glue_task, " needs ", task->labels.outputs()));
  }
  if (std::optional<LabelSet> own = in_models_order(task->labels, config.label_names, options.glue_task)) return *own;
  const std::string wanted = absl::StrJoin(task->labels.names, ", ");
  if (!config.label_names.empty() && !only_numbers(task->labels)) {
    return absl::InvalidArgumentError(absl::StrCat(options.model, " names its labels ",
                                                   absl::StrJoin(config.label_names, ", "),
                                                   " (id2label), and those of ", options.glue_task, " are ", wanted));
  }
  if (!config.label_names.empty() || !(task->labels.regression || only_numbers(task->labels)))
    std::cerr << "note: " << options.model << " does not say which label is which; they are taken as " << wanted
              << "\n";
  return task->labels;
}

void print(const EvaluationLine& line, std::optional<double> entropy, bool json) {
  if (json) {
    nlohmann::ordered_json out = {{"loss", line.validation_loss}};
    if (entropy.has_value()) out["perplexity"] = line.perplexity();
    out["tokens"] = line.validation_tokens;
    if (entropy.has_value()) out["unigram_entropy"] = *entropy;
    out["metrics"] = line.metrics.empty() ? nlohmann::ordered_json::object() : nlohmann::ordered_json(line.metrics);
    std::cout << out.dump() << "\n";
    return;
  }
  if (entropy.has_value()) {
    std::cout << absl::StrFormat(
        "loss             %.4f nats per token\nperplexity       %.2f\ntokens           %d\nunigram entropy  %.4f "
        "nats\n",
        line.validation_loss, line.perplexity(), line.validation_tokens, *entropy);
    return;
  }
  std::cout << absl::StrFormat("%-24s %.4f\n%-24s %d\n", "loss", line.validation_loss, "tokens",
                               line.validation_tokens);
  for (const auto& [name, value] : line.metrics) std::cout << absl::StrFormat("%-24s %.4f\n", name, value);
}

// What stands between the options and the model: a sentence for what does not go together.
absl::Status check(const EvaluateOptions& options, const ModelConfig& config, int64_t length) {
  if (length < 1 || length > config.longest_sequence()) {
    return absl::InvalidArgumentError(absl::StrCat("--sequence-length ", length, " is not accepted; from 1 to ",
                                                   config.longest_sequence(), ", which the model's positions allow"));
  }
  if (!config.encoder() && (!options.glue_task.empty() || options.format == "tsv")) {
    return absl::InvalidArgumentError(absl::StrCat(options.model, " holds a ", architecture_name(config.architecture),
                                                   ", which has no labels to be right about"));
  }
  const bool tokens_given = options.begin_token != "auto" || options.end_token != "auto";
  if (tokens_given && (config.encoder() || options.format == "chat" || options.format == "tokens")) {
    return absl::InvalidArgumentError(
        "--begin-token and --end-token are of text; rows, conversations and token files have their own");
  }
  const bool rows = options.format == "tsv" || options.format == "csv" || options.format == "jsonl";
  if (config.encoder() && options.format != "auto" && !rows) {
    return absl::InvalidArgumentError(absl::StrCat(options.model, " holds a ", architecture_name(config.architecture),
                                                   " that classifies, and --format ", options.format,
                                                   " has no labels; tsv, csv and jsonl have"));
  }
  if (!options.template_date.empty() && options.format != "chat")
    return absl::InvalidArgumentError("--template-date contradicts --format; it needs --format chat");
  if (options.format == "tokens" && !options.tokenizer.empty()) {
    return absl::InvalidArgumentError(
        "--tokenizer contradicts --format tokens, whose files are tokenized already; leave it out");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status evaluate(const EvaluateOptions& options) {
  ASSIGN_OR_RETURN(ModelConfig config, resolve_model_config(options.model, {}, 0));
  const int64_t length =
      options.sequence_length > 0 ? options.sequence_length : std::min<int64_t>(256, config.longest_sequence());
  RETURN_IF_ERROR(check(options, config, length));
  ASSIGN_OR_RETURN(
      std::unique_ptr<LoadedModel> loaded,
      load_model(options.model, options.format == "tokens" ? kNoTokenizer : options.tokenizer, options.batch, length,
                 DeviceRequest{device_of_word(options.device), 0, 1, options.threads}));
  TemporaryFolder folder;
  RETURN_IF_ERROR(folder.make());
  CorpusRequest request;
  request.options.format = options.format;
  request.options.text_field = options.text_field;
  request.options.begin_token = options.begin_token;
  request.options.end_token = options.end_token;
  request.options.template_date = options.template_date;
  request.options.packing = options.packing;
  request.options.sequence_length = length;
  request.globs = options.data;
  request.key = "--data";
  request.tokenizer = loaded->tokenizer.get();
  request.vocabulary = loaded->config.vocabulary;
  request.folder = folder.path();
  request.name = "data";
  if (config.encoder()) {
    ASSIGN_OR_RETURN(request.labels, labels_of(options, config));
    request.options.classify = true;
    request.options.glue_task = options.glue_task;
    request.options.text_columns = options.text_columns;
    request.options.label_column = options.label_column;
  }
  if (options.format == "chat") {
    ASSIGN_OR_RETURN(request.chat_template, find_chat_template(options.chat_template, loaded->tokenizer_source));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Corpus> corpus, Corpus::make(request));
  if (absl::StatusOr<StoreProgress> some = corpus->wait_for_start(); !some.ok()) return some.status();
  std::unique_ptr<Communicator> alone = make_single_communicator(*loaded->device);
  const int32_t padding = padding_id(loaded->tokenizer.get());
  absl::StatusOr<EvaluationLine> line = absl::UnknownError("");
  std::optional<double> entropy;
  if (config.encoder()) {
    absl::StatusOr<GlueTask> task = glue_task(options.glue_task);
    line = evaluate_labels(*loaded->model, *corpus, request.labels,
                           task.ok() ? task->metrics : std::vector<std::string>{}, options.tokens, padding, *alone, 0);
  } else {
    line = evaluate_sequences(*loaded->model, corpus->store(), options.tokens, padding, *alone, 0);
    if (line.ok()) {
      ASSIGN_OR_RETURN(entropy, unigram_entropy(corpus->store(), line->validation_tokens, request.vocabulary));
    }
  }
  if (!line.ok()) return line.status();
  for (const std::string& note : corpus->store().notes()) std::cerr << note << "\n";
  print(*line, entropy, options.json);
  return absl::OkStatus();
}

}  // namespace galleon
