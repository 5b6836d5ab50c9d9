#include "client/program.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "absl/strings/ascii.h"
#include "client/completion.h"
#include "common/net/server_list.h"
#include "common/net/tls_diagnosis.h"
#include "common/net/tls_folder.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {

namespace {

// What was printed is where it was to go, or the code of a failure.
int flushed(int code, int failure) {
  errno = 0;
  std::cout.flush();
  const bool whole = std::cout.good() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (whole) return code;
  fail(std::string("cannot write standard output") + (errno == 0 ? "" : std::string(": ") + std::strerror(errno)));
  return failure;
}

// Passes everything after the subcommand's name to galleon-trainer.
void add_passed_through(CLI::App& app, const char* name, const char* help, const char* example, int& code) {
  CLI::App* command = app.add_subcommand(name, help);
  command->prefix_command()->set_help_flag();
  command->footer(example);
  command->callback([command, name, &code] {
    std::vector<std::string> arguments{name};
    for (const std::string& argument : command->remaining()) arguments.push_back(argument);
    code = run_trainer(arguments);
  });
}

}  // namespace

OutputFormat Program::format_of(const std::string& word, const char* accepted) {
  const std::string lower = absl::AsciiStrToLower(word);
  if (lower == "table") return OutputFormat::kTable;
  if (lower == "json") return OutputFormat::kJson;
  if (lower == "yaml") return OutputFormat::kYaml;
  throw CLI::ValidationError("--output", "\"" + word + "\" is not accepted; one of " + accepted);
}

int Program::run(int argc, char** argv) {
  app_.set_version_flag("--version", GALLEON_VERSION);
  app_.require_subcommand(1);
  app_.footer(
      "Start here: galleon plan job.yaml, then galleon train job.yaml --output run\nEach command: galleon COMMAND "
      "--help");
  const char* server = std::getenv("GALLEON_SERVER");
  server_given_ = server != nullptr && *server != '\0';
  remote_.server = server_given_ ? server : "127.0.0.1:7070";
  add_server_option(&app_);
  add_local();
  add_submit();
  add_job_commands();
  add_job_orders();
  add_operator_commands();
  add_worker_orders();
  add_admin();
  add_config();
  add_completion();
  app_.parse_complete_callback([this] { settle_context(); });
  remote_.explain = [this] { return explain_tls(remote_.server, TlsFolder(), ""); };
  // What went wrong is said in our words; gRPC's own lines come with GRPC_VERBOSITY=ERROR.
  ::setenv("GRPC_VERBOSITY", "NONE", 0);
  const char* tls = std::getenv("GALLEON_TLS");
  try {
    if (tls != nullptr && *tls != '\0') use_tls(tls);
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (const std::vector<std::string> words = app_.remaining(); app_.get_subcommands().empty() && !words.empty()) {
      fail("there is no command \"" + words.front() + "\"; galleon --help lists them");
      return 2;
    }
    if (lacks_subcommand(e)) {
      std::cerr << app_.help();
      return 2;
    }
    const int shown = app_.exit(e);
    // Code 2 says that the job was cancelled.
    return shown == 0 ? flushed(0, 1) : waits(argc, argv) ? kOwnError : 2;
  }
  return flushed(code_, waits(argc, argv) ? kOwnError : 1);
}

bool Program::lacks_subcommand(const CLI::ParseError& error) const {
  if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::RequiredError)) return false;
  const CLI::App* asked = &app_;
  while (!asked->get_subcommands().empty()) asked = asked->get_subcommands().front();
  return !asked->get_subcommands({}).empty();
}

CLI::App* Program::command(const char* name, const char* help, const char* example) {
  CLI::App* sub = app_.add_subcommand(name, help);
  sub->footer(std::string("Example: ") + example);
  return sub;
}

void Program::use_tls(const std::string& folder) {
  tls_given_ = true;
  const absl::StatusOr<TlsFolder> tls = load_tls_folder(folder);
  if (!tls.ok()) throw CLI::ValidationError("--tls", std::string(tls.status().message()));
  remote_.credentials = channel_credentials(*tls);
  remote_.explain = [this, tls = *tls, folder] { return explain_tls(remote_.server, tls, folder); };
}

void Program::use_server(const std::string& server) {
  if (const auto list = parse_server_list(server); !list.ok())
    throw CLI::ValidationError("--server", std::string(list.status().message()));
  remote_.server = server;
  server_option_ = true;
}

void Program::settle_context() {
  // Commands that reach no scheduler need no file.
  const CLI::App* asked = &app_;
  while (!asked->get_subcommands().empty()) asked = asked->get_subcommands().front();
  if (asked == &app_ || asked->get_option_no_throw("--server") == nullptr) return;
  const char* named = std::getenv("GALLEON_CONTEXT");
  std::string name = !context_.empty() ? context_ : named == nullptr ? "" : named;
  // Who names a server or its TLS otherwise, and no context, means no context.
  if (name.empty() && (server_given_ || server_option_ || tls_given_)) return;
  const absl::StatusOr<Contexts> contexts = load_contexts(contexts_path());
  if (!contexts.ok()) throw CLI::ValidationError("--context", std::string(contexts.status().message()));
  if (name.empty()) name = contexts->current;
  if (name.empty()) return;
  const absl::StatusOr<Context> context = find_context(*contexts, name);
  if (!context.ok()) throw CLI::ValidationError("--context", std::string(context.status().message()));
  // An option has the last word.
  if (!server_option_) remote_.server = context->server;
  if (!tls_option_ && !context->tls.empty()) use_tls(context->tls);
}

void Program::add_server_option(CLI::App* app) {
  app->add_option_function<std::string>(
         "--server", [this](const std::string& server) { use_server(server); },
         "HOST:PORT of the scheduler, or of several with commas between (or GALLEON_SERVER)")
      ->default_str(remote_.server)
      ->trigger_on_parse();
  app->add_option_function<std::string>(
         "--tls",
         [this](const std::string& folder) {
           tls_option_ = true;
           use_tls(folder);
         },
         "folder with ca.pem, and cert.pem with key.pem or token (or GALLEON_TLS)")
      ->trigger_on_parse();
  app->add_option_function<std::string>(
         "--context", [this](const std::string& name) { context_ = name; },
         "server and TLS that galleon config keeps under this name (or GALLEON_CONTEXT)")
      ->trigger_on_parse();
}

void Program::add_format_option(CLI::App* app) {
  app->add_option_function<std::string>(
         "-o,--output", [this](const std::string& word) { remote_.format = format_of(word); }, "table, json or yaml")
      ->type_name("TEXT:{table,json,yaml}")
      ->trigger_on_parse();
}

CLI::App* Program::remote_command(const char* name, const char* help, const char* example) {
  CLI::App* sub = command(name, help, example);
  add_server_option(sub);
  add_format_option(sub);
  return sub;
}

void Program::add_local() {
  CLI::App* train =
      command("train", "train on this machine, without the service", "galleon train job.yaml --output run --ranks 2");
  train->add_option("job", train_.job, "the job file")->required();
  train->add_option("--output", train_.output, "folder for metrics.jsonl and checkpoints; a run in it is resumed")
      ->required();
  train
      ->add_option("--ranks", train_.ranks,
                   "processes, instead of the job file's parallel.ranks; under srun each of several tasks is one")
      ->check(CLI::PositiveNumber);
  train->add_option("--threads", train_.threads, "of each process; all cores over the processes by default")
      ->check(CLI::PositiveNumber);
  train->add_option("--here", train_.here, "ranks that run on this machine, such as 2 or 2-3; all by default");
  train->add_option("--meet", train_.meet,
                    "where ranks of several machines meet: a folder that they share, or HOST:PORT of rank 0's machine");
  train->add_option("--secret-file", train_.secret_file, "file whose first line all ranks that meet at HOST:PORT know");
  train->add_option("--interface", train_.interface,
                    "interface or address of this machine for what ranks say to each other, without TLS");
  train->add_option("--meet-within", train_.meet_within, "seconds; by default 60, with --meet 600")
      ->check(CLI::PositiveNumber);
  train->callback([this] { code_ = run_train(train_); });

  CLI::App* plan = command("plan", "memory, wire and work of a job, before it runs", "galleon plan job.yaml");
  plan->add_option("job", plan_job_, "the job file")->required();
  plan->add_option(
      "--gpu", plan_gpu_,
      "a card on which a step is predicted, at its peak rates: a100 | h100 | h200 | b200 | l40s | 3090 | 4090 | "
      "5090");
  add_format_option(plan);
  plan->callback([this] { code_ = run_plan(plan_job_, plan_gpu_, remote_.format); });

  CLI::App* reference = command("job-file", "print every key of the job file, as Markdown", "galleon job-file");
  reference->callback([] { std::cout << job_reference_markdown(); });

  add_passed_through(app_, "evaluate", "loss and perplexity of a checkpoint or a Hugging Face folder",
                     "Example: galleon evaluate --model run/checkpoints/step-00001000 --data 'books/*.txt'", code_);
  add_passed_through(app_, "generate", "sample text from a checkpoint or a Hugging Face folder",
                     "Example: galleon generate --model run/checkpoints/step-00001000 --prompt 'It is a truth'", code_);
  add_passed_through(
      app_, "tokenize", "write a token file",
      "Example: galleon tokenize --tokenizer tokenizer.model --input 'books/*.txt' --output books.tokens", code_);
}

void Program::add_submit() {
  CLI::App* submit = remote_command("submit", "hand a job to the scheduler",
                                    "galleon submit job.yaml --watch\n"
                                    "A sweep: galleon submit job.yaml --sweep optimizer.learning_rate=0.005,0.01,0.02 "
                                    "--sweep model.seed=1,2 --max-running 2");
  submit->add_option("job", submit_.job, "the job file; - for standard input")->required();
  submit->add_flag("--watch", submit_.watch, "then show it until it ends");
  submit->add_flag("--wait", submit_.wait, "then wait until it ends");
  submit->add_option("--set", submit_.settings, "KEY=VALUE of the job file; repeatable")->allow_extra_args(false);
  submit
      ->add_option(
          "--sweep", submit_.sweeps,
          "KEY=VALUE,VALUE of the job file: a job for each value, as one group; repeatable: for each combination")
      ->allow_extra_args(false);
  submit->add_option("--max-running", submit_.max_running, "so many jobs of a sweep have slots at a time at most")
      ->check(CLI::PositiveNumber);
  submit
      ->add_option("--stop-worst-after", submit_.stop_worst_after,
                   "STEP,STEP: when the jobs of a sweep have come so far, the worse half of them ends")
      ->delimiter(',')
      ->allow_extra_args(false);
  submit->add_flag("--validate-only,--dry-run", submit_.validate_only,
                   "run every check and the plan, and store nothing");
  submit->add_flag("--allow-pending", submit_.allow_pending,
                   "queue it although no worker of now could hold it; it waits for one that can");
  submit
      ->add_option_function<std::string>(
          "--inputs",
          [this](const std::string& word) {
            submit_.inputs = word == "here" ? InputsOn::kHere : word == "worker" ? InputsOn::kWorker : InputsOn::kAuto;
          },
          "where the model is read, and tokenizer and data are looked for: here, by a worker, or auto, which is here "
          "if nothing "
          "that the job names is missing here")
      ->type_name("TEXT:{auto,here,worker}=auto")
      ->check(CLI::IsMember({"auto", "here", "worker"}));
  submit
      ->add_option(
          "--attach", submit_.attach,
          "send the files of this key with the job, at most 32 MiB of all keys: tokenizer, data.chat_template, "
          "or model.source (its config.json alone, for init: random); repeatable")
      ->check(CLI::IsMember({"tokenizer", "data.chat_template", "model.source"}))
      ->allow_extra_args(false);
  submit->add_option("--request-id", submit_.request_id, "makes a repeated submit return the first job");
  submit->callback([this] { code_ = run_submit(remote_, submit_); });
}

void Program::add_completion() {
  CLI::App* completion =
      command("completion", "print completion for a shell: bash or zsh", "source <(galleon completion bash)");
  completion->add_option("shell", shell_, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
  completion->callback([this] { std::cout << completion_script(app_, shell_); });
}

}  // namespace galleon
