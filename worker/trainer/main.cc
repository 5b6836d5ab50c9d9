// galleon-trainer: one rank of a training run, and everything else that needs the engine.
#include <CLI/CLI.hpp>

#include <google/protobuf/util/json_util.h>
#include <sys/stat.h>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/bounded_text.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/log_options.h"
#include "common/base/printable.h"
#include "common/base/reach.h"
#include "common/base/read_all.h"
#include "common/base/status_macros.h"
#include "kernels/cpu/processor.h"
#include "worker/engine/data/byte_ranges.h"
#include "worker/engine/data/files.h"
#include "worker/engine/run/options_from_job.h"
#include "worker/engine/run/training.h"
#include "worker/engine/storage/local_copy.h"
#include "worker/trainer/device_choice.h"
#include "worker/trainer/evaluate_command.h"
#include "worker/trainer/memory_messages.h"
#include "worker/trainer/mixture_note.h"
#include "worker/trainer/processor_message.h"
#include "worker/trainer/resolve.h"
#include "worker/trainer/text_commands.h"
#include "worker/trainer/tokenize_command.h"
#include "worker/trainer/train_command.h"

namespace galleon {
namespace {

// The first line of the log of what computes here.
void log_processor(const std::string& device) {
  if (device_kind({device_of_word(device)}) != "cpu") return;
  tell_processor([](const std::string& what, const std::string& text) { log_info(what, ": ", text); });
}

constexpr mode_t kOthersNothing = 0027;

// What the daemon hands to a trainer open.
struct ServiceDescriptors {
  int job = -1;
  int assignment = -1;
  int control = -1;
  int resolve = -1;

  bool given() const { return job >= 0 || resolve >= 0; }
};

struct Arguments {
  std::string job;
  ServiceDescriptors service;
  Reach reach;
  bool plan = false;
  std::string gpu;  // of the plan's prediction
  bool resolve = false;
  bool processor = false;
  std::string format = "json";
  std::string output;
  LocalRank local;
  LogOptions log;
};

int fail(const absl::Status& status) {
  PrintableLog shown;
  std::cerr << shown.add(bounded_text(status.message())) << shown.finish() << "\n";
  return status.code() == absl::StatusCode::kInvalidArgument || status.code() == absl::StatusCode::kNotFound ? 2 : 1;
}

// Bytes of the files that are tokenized first, as far as they can be seen from here.
int64_t text_bytes(const v1::Job& job) {
  if (job.data().format() == v1::Data::FORMAT_TOKENS) return 0;
  int64_t bytes = 0;
  absl::StatusOr<std::vector<std::string>> files =
      expand_globs({job.data().train().begin(), job.data().train().end()}, "");
  if (!files.ok()) return 0;
  for (const std::string& file : *files) {
    const absl::StatusOr<std::unique_ptr<ByteRanges>> opened = ByteRanges::open(file);
    if (opened.ok()) bytes += (*opened)->size();
  }
  return bytes;
}

int print(const google::protobuf::Message& message, const std::string& format) {
  if (format == "binary") {
    std::cout << message.SerializeAsString();
    return 0;
  }
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  std::cout << text;
  return 0;
}

std::string last_batch_word(const v1::Job& job) {
  const v1::Data::LastBatch last = job.data().last_batch();
  return last == v1::Data::LAST_BATCH_SHORT ? "short" : last == v1::Data::LAST_BATCH_DROP ? "drop" : "wrap";
}

int plan(const Arguments& arguments) {
  absl::StatusOr<v1::Job> job = read_job(arguments.job);
  if (!job.ok()) return fail(job.status());
  std::vector<std::string> notes;
  if (!job->has_shape()) job = resolve_for_plan(*job, notes);
  if (!job.ok()) return fail(job.status());
  if (job->training().has_epochs()) {
    notes.push_back(absl::StrCat(
        "training.epochs: steps follow from the number of sequences, which the log tells when the "
        "data is known; where an epoch ends within a batch of ",
        job->training().global_batch(), ", data.last_batch: ", last_batch_word(*job), " says what becomes of it"));
  }
  const RunOptions options = options_from_job(*job, ".");
  if (std::string mixed = mixture_note(options, job->shape().vocabulary()); !mixed.empty())
    notes.push_back(std::move(mixed));
  for (const std::string& note : notes) std::cerr << "note: " << note << "\n";
  const auto ranks = static_cast<int>(job->parallel().ranks());
  absl::StatusOr<ModelConfig> config = config_from_shape(job->shape());
  if (!config.ok()) return fail(config.status());
  absl::StatusOr<EngineShape> shape = engine_shape(options, *config, ranks);
  if (!shape.ok()) return fail(shape.status());
  // A plan for GPUs needs none here.
  DeviceRequest request;
  if (job->resources().has_device()) request.wanted = job->resources().device();
  std::string kind = device_kind(request);
  if (!arguments.gpu.empty()) {
    if (job->resources().device() == v1::Resources::DEVICE_CPU)
      return fail(absl::InvalidArgumentError("--gpu: the job's resources.device is cpu"));
    kind = "cuda";
  }
  absl::StatusOr<v1::MemoryPlan> message = plan_message(*shape, kind, ranks, text_bytes(*job), options.memory_limit);
  if (!message.ok()) return fail(message.status());
  if (!arguments.gpu.empty()) {
    absl::StatusOr<v1::StepPrediction> prediction = prediction_message(*shape, arguments.gpu, ranks);
    if (!prediction.ok()) return fail(prediction.status());
    *message->mutable_prediction() = *std::move(prediction);
  }
  return print(*message, arguments.format);
}

int resolve_to_file(const Arguments& arguments) {
  absl::StatusOr<v1::Job> job = read_job(arguments.job);
  if (job.ok()) job = resolve(*job);
  if (!job.ok()) return fail(job.status());
  const absl::Status written = write_file_atomically(arguments.output, job->SerializeAsString());
  return written.ok() ? 0 : fail(written);
}

int train(Arguments& arguments) {
  absl::StatusOr<v1::Job> job = read_job(arguments.job);
  if (!job.ok()) return fail(job.status());
  arguments.local.output = arguments.output;
  return train_locally(*job, arguments.local);
}

absl::Status read_message(int fd, google::protobuf::Message& message) {
  ASSIGN_OR_RETURN(const std::string text, read_all(fd, absl::StrCat("descriptor ", fd)));
  if (message.ParseFromString(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("descriptor ", fd, " does not hold what the daemon writes"));
}

int resolve_for_service(int fd) {
  v1::Job given;
  if (const absl::Status read = read_message(fd, given); !read.ok()) return fail(read);
  const absl::StatusOr<v1::Job> job = resolve(given);
  return job.ok() ? print(*job, "binary") : fail(job.status());
}

// One rank of an attempt. All that it is told comes as open files, since it may open little itself.
int train_for_service(const Arguments& arguments) {
  v1::Job job;
  v1::TrainerAssignment assignment;
  const ServiceDescriptors& given = arguments.service;
  for (const auto& [fd, message] :
       {std::pair<int, google::protobuf::Message*>(given.job, &job), {given.assignment, &assignment}}) {
    if (const absl::Status read = read_message(fd, *message); !read.ok()) return fail(read);
  }
  return train_assignment(job, assignment, FileDescriptor(given.control));
}

void add_training(CLI::App& app, Arguments& arguments) {
  app.add_option("--job", arguments.job, "a YAML job file or a binary Job message");
  auto* job = app.add_option("--job-fd", arguments.service.job, "from the worker daemon: where a binary Job is read");
  auto* assignment =
      app.add_option("--assignment-fd", arguments.service.assignment, "where a TrainerAssignment is read");
  auto* control = app.add_option("--control-fd", arguments.service.control, "the socket that the daemon speaks to");
  job->needs(assignment)->needs(control);
  assignment->needs(job);
  control->needs(job);
  app.add_option("--resolve-fd", arguments.service.resolve,
                 "from the worker daemon: where a binary Job is read; writes it with its model's shape to standard "
                 "output, and ends")
      ->excludes(job);
  app.add_option("--reads", arguments.reach.reads, "folder that the job may read, and no other; repeatable");
  app.add_option("--writes", arguments.reach.writes, "folder that the job may write, and read; repeatable");
  app.add_flag("--plan", arguments.plan, "print what the job will take, and end");
  app.add_option("--gpu", arguments.gpu, "of --plan: predict a step on that card")->needs("--plan");
  app.add_option("--format", arguments.format, "of --plan and --processor")->check(CLI::IsMember({"json", "binary"}));
  app.add_flag("--processor", arguments.processor, "print what the CPU computes with here, and end");
  app.add_flag("--resolve", arguments.resolve, "write the job with its model's shape to --output, and end");
  app.add_option("--output", arguments.output, "the folder of a local run, or the file of --resolve");
  app.add_option("--rank", arguments.local.rank, "of a local run")->check(CLI::NonNegativeNumber);
  app.add_option("--ranks", arguments.local.ranks, "of a local run")->check(CLI::PositiveNumber);
  app.add_option("--rendezvous", arguments.local.rendezvous,
                 "a folder or HOST:PORT where the ranks of a local run meet");
  app.add_option("--local-rank", arguments.local.local_rank, "among the ranks here, the number of its GPU");
  app.add_option("--local-ranks", arguments.local.local_ranks, "ranks of the run on this machine");
  app.add_option("--secret-file", arguments.local.secret_file, "what the ranks that meet at HOST:PORT know");
  app.add_option("--interface", arguments.local.interface, "interface or address for what ranks say to each other");
  app.add_option("--meet-within", arguments.local.meet_within, "seconds")->check(CLI::PositiveNumber);
  app.add_option("--events-fd", arguments.local.events_fd, "where events go");
  app.add_option("--threads", arguments.local.threads, "CPU threads; 0: all cores");
}

// Folders of this machine in the place of addresses.
absl::Status bring_tokenizer(std::string& tokenizer) {
  ASSIGN_OR_RETURN(tokenizer, on_this_machine(tokenizer, CopiedWeights::kNone, "--tokenizer"));
  return absl::OkStatus();
}

absl::Status bring_model(std::string& model, std::string& tokenizer) {
  ASSIGN_OR_RETURN(model, on_this_machine(model, CopiedWeights::kAll, "--model"));
  return bring_tokenizer(tokenizer);
}

void add_around_text(CLI::App& command, const std::string& begins, std::string& begin, const std::string& ends,
                     std::string& end) {
  const std::string words =
      ": auto (as the checkpoint was trained, else as the tokenizer says) | none | a token's text";
  command.add_option("--begin-token", begin, begins + words);
  command.add_option("--end-token", end, ends + words);
}

CLI::App* add_evaluate(CLI::App& app, EvaluateOptions& options) {
  CLI::App* command = app.add_subcommand("evaluate", "loss and task metrics of a model folder on data");
  command->footer("Example: galleon evaluate --model run/checkpoints/step-00001000 --data 'books/*.txt'");
  command->add_option("--model", options.model, "a checkpoint or a Hugging Face folder")->required();
  command->add_option("--data", options.data, "globs of text")->required();
  command->add_option("--tokenizer", options.tokenizer, "instead of the folder's own");
  command->add_option("--format", options.format, "auto | text | jsonl | csv | tokens | tsv | chat")
      ->check(CLI::IsMember({"auto", "text", "jsonl", "csv", "tokens", "tsv", "chat"}));
  command->add_option("--text-field", options.text_field, "of a JSON line");
  add_around_text(*command, "before each document", options.begin_token, "behind each document", options.end_token);
  command->add_option("--chat-template", options.chat_template, "preset:NAME or a .jinja file");
  command->add_option("--template-date", options.template_date, "that the template's strftime_now sees: 2024-07-26");
  command->add_option("--glue-task", options.glue_task, "columns and metrics of a GLUE task");
  command->add_option("--text-columns", options.text_columns, "one column of labelled rows, or two");
  command->add_option("--label-column", options.label_column, "of labelled rows");
  command->add_flag("--packing,!--no-packing", options.packing, "join documents, or take each by itself");
  command->add_option("--sequence-length", options.sequence_length, "tokens of a window");
  command->add_option("--batch", options.batch, "windows at a time")->check(CLI::PositiveNumber);
  command->add_option("--tokens", options.tokens, "at most; 0: all")->check(CLI::NonNegativeNumber);
  command->add_option("--threads", options.threads, "CPU threads; 0: all cores");
  command->add_option("--device", options.device, "auto | cpu | cuda")->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  command->add_flag("--json", options.json, "one line of JSON");
  return command;
}

CLI::App* add_generate(CLI::App& app, GenerateOptions& options) {
  CLI::App* command = app.add_subcommand("generate", "sample text from a model folder");
  command->footer("Example: galleon generate --model run/checkpoints/step-00001000 --prompt 'It is a truth'");
  command->add_option("--model", options.model, "a checkpoint or a Hugging Face folder")->required();
  command->add_option("--prompt", options.prompt, "what it goes on from");
  command->add_option("--tokenizer", options.tokenizer, "instead of the folder's own");
  add_around_text(*command, "before the prompt", options.begin_token, "ends the text", options.end_token);
  command->add_option("--tokens", options.tokens, "at most")->check(CLI::NonNegativeNumber);
  const std::string otherwise = "; not given: as generation_config.json says, else ";
  command->add_option("--temperature", options.temperature, "0 takes the most probable token" + otherwise + "0.8")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--top-k", options.top_k, "tokens that are drawn from; 0: all" + otherwise + "0")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--top-p", options.top_p, "mass of the tokens that are drawn from" + otherwise + "0.95")
      ->check(CLI::Range(0.0, 1.0));
  command
      ->add_option("--repetition-penalty", options.repetition_penalty,
                   "on tokens that the text has; 1: none" + otherwise + "1")
      ->check(CLI::PositiveNumber);
  command->add_option("--seed", options.seed, "of the draws");
  command->add_option("--threads", options.threads, "CPU threads; 0: all cores");
  command->add_option("--device", options.device, "auto | cpu | cuda")->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  return command;
}

CLI::App* add_tokenize(CLI::App& app, TokenizeOptions& options) {
  CLI::App* command = app.add_subcommand("tokenize", "write a token file");
  command->footer("Example: galleon tokenize --tokenizer tokenizer.model --input 'books/*.txt' --output books.tokens");
  command->add_option("--tokenizer", options.tokenizer, "SentencePiece .model, tokenizer.json, a folder, or bytes")
      ->required();
  command->add_option("--input", options.input, "globs of text")->required();
  command->add_option("--format", options.format, "auto | text | jsonl | csv")
      ->check(CLI::IsMember({"auto", "text", "jsonl", "csv"}));
  command->add_option("--text-field", options.text_field, "of a JSON line");
  add_around_text(*command, "before each document", options.begin_token, "behind each document", options.end_token);
  command->add_option("--output", options.output, "the token file")->required();
  command->add_option("--threads", options.threads, "CPU threads; 0: all cores")->check(CLI::NonNegativeNumber);
  return command;
}

int run(int argc, char** argv) {
  CLI::App app{
      "One rank of a Galleon training run. People use `galleon train`, `galleon plan` and the others, which call this "
      "program."};
  Arguments arguments;
  EvaluateOptions evaluation;
  GenerateOptions generation;
  TokenizeOptions tokenizing;
  app.set_version_flag("--version", GALLEON_VERSION);
  add_training(app, arguments);
  app.add_option("--log-format", arguments.log.format, "of this program's own log: text, or json, an object a line")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--log-level", arguments.log.level,
                 "what is logged from: debug, info, warning or error (default: GALLEON_LOG, else info)")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  const CLI::App* evaluate_command = add_evaluate(app, evaluation);
  const CLI::App* generate_command = add_generate(app, generation);
  const CLI::App* tokenize_command = add_tokenize(app, tokenizing);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  const bool service = arguments.service.given();
  if (!service && !(arguments.reach.reads.empty() && arguments.reach.writes.empty()))
    return fail(absl::InvalidArgumentError("--reads and --writes need --job-fd or --resolve-fd"));
  if (service) {
    limit_reach(arguments.reach);
    ::umask(::umask(0) | kOthersNothing);
  }
  init_logging("galleon-trainer", arguments.log,
               service || (arguments.local.events_fd < 0 && arguments.local.rank == 0) ? "info" : "warning");
  absl::Status status;
  if (*evaluate_command) {
    log_processor(evaluation.device);
    status = bring_model(evaluation.model, evaluation.tokenizer);
    if (status.ok()) status = evaluate(evaluation);
  } else if (*generate_command) {
    log_processor(generation.device);
    status = bring_model(generation.model, generation.tokenizer);
    if (status.ok()) status = generate(generation);
  } else if (*tokenize_command) {
    status = bring_tokenizer(tokenizing.tokenizer);
    if (status.ok()) status = tokenize(tokenizing);
  } else {
    if (arguments.processor) return print(processor_message(), arguments.format);
    if (arguments.service.resolve >= 0) return resolve_for_service(arguments.service.resolve);
    if (service) return train_for_service(arguments);
    if (arguments.job.empty()) return fail(absl::InvalidArgumentError("--job is needed; see --help"));
    if (arguments.plan) return plan(arguments);
    if (arguments.output.empty()) return fail(absl::InvalidArgumentError("--output is needed; see --help"));
    return arguments.resolve ? resolve_to_file(arguments) : train(arguments);
  }
  return status.ok() ? 0 : fail(status);
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  galleon::cpu::start_again_for_libraries(argv);
  return galleon::run(argc, argv);
}
