// galleon: the command that people use.
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>
#include <tuple>

#include "absl/strings/ascii.h"
#include "client/commands.h"
#include "client/completion.h"
#include "common/net/tls_diagnosis.h"
#include "common/net/tls_folder.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {
namespace {

OutputFormat format_of(const std::string& word) {
  const std::string lower = absl::AsciiStrToLower(word);
  if (lower == "table") return OutputFormat::kTable;
  if (lower == "json") return OutputFormat::kJson;
  if (lower == "yaml") return OutputFormat::kYaml;
  throw CLI::ValidationError("--output", "\"" + word + "\" is not accepted; one of table, json, yaml");
}

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

class Program {
 public:
  int run(int argc, char** argv) {
    app_.set_version_flag("--version", GALLEON_VERSION);
    app_.require_subcommand(1);
    app_.footer(
        "Start here: galleon plan job.yaml, then galleon train job.yaml --output run\nEach command: galleon COMMAND "
        "--help");
    const char* server = std::getenv("GALLEON_SERVER");
    remote_.server = server != nullptr && *server != '\0' ? server : "127.0.0.1:7070";
    add_server_option(&app_);
    add_local();
    add_submit();
    add_job_commands();
    add_operator_commands();
    add_worker_orders();
    add_admin();
    add_completion();
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

 private:
  static bool waits(int argc, char** argv) { return argc > 1 && std::string(argv[1]) == "wait"; }

  // A command was given without one of those below it; its help says which there are.
  bool lacks_subcommand(const CLI::ParseError& error) const {
    if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::RequiredError)) return false;
    const CLI::App* asked = &app_;
    while (!asked->get_subcommands().empty()) asked = asked->get_subcommands().front();
    return !asked->get_subcommands({}).empty();
  }

  CLI::App* command(const char* name, const char* help, const char* example) {
    CLI::App* sub = app_.add_subcommand(name, help);
    sub->footer(std::string("Example: ") + example);
    return sub;
  }

  void use_tls(const std::string& folder) {
    const absl::StatusOr<TlsFolder> tls = load_tls_folder(folder);
    if (!tls.ok()) throw CLI::ValidationError("--tls", std::string(tls.status().message()));
    remote_.credentials = channel_credentials(*tls);
    remote_.explain = [this, tls = *tls, folder] { return explain_tls(remote_.server, tls, folder); };
  }

  void add_server_option(CLI::App* app) {
    app->add_option("--server", remote_.server, "HOST:PORT of the scheduler (or GALLEON_SERVER)")
        ->capture_default_str();
    app->add_option_function<std::string>(
           "--tls", [this](const std::string& folder) { use_tls(folder); },
           "folder with ca.pem, and cert.pem with key.pem or token (or GALLEON_TLS)")
        ->trigger_on_parse();
  }

  void add_format_option(CLI::App* app) {
    app->add_option_function<std::string>(
           "-o,--output", [this](const std::string& word) { remote_.format = format_of(word); }, "table, json or yaml")
        ->type_name("TEXT:{table,json,yaml}")
        ->trigger_on_parse();
  }

  // A command that speaks to the scheduler.
  CLI::App* remote_command(const char* name, const char* help, const char* example) {
    CLI::App* sub = command(name, help, example);
    add_server_option(sub);
    add_format_option(sub);
    return sub;
  }

  void add_local() {
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
    train->add_option(
        "--meet", train_.meet,
        "where ranks of several machines meet: a folder that they share, or HOST:PORT of rank 0's machine");
    train->add_option("--secret-file", train_.secret_file,
                      "file whose first line all ranks that meet at HOST:PORT know");
    train->add_option("--interface", train_.interface,
                      "interface or address of this machine for what ranks say to each other, without TLS");
    train->add_option("--meet-within", train_.meet_within, "seconds; by default 60, with --meet 600")
        ->check(CLI::PositiveNumber);
    train->callback([this] { code_ = run_train(train_); });

    CLI::App* plan = command("plan", "memory, wire and work of a job, before it runs", "galleon plan job.yaml");
    plan->add_option("job", plan_job_, "the job file")->required();
    add_format_option(plan);
    plan->callback([this] { code_ = run_plan(plan_job_, remote_.format); });

    CLI::App* reference = command("job-file", "print every key of the job file, as Markdown", "galleon job-file");
    reference->callback([] { std::cout << job_reference_markdown(); });

    add_passed_through(app_, "evaluate", "loss and perplexity of a checkpoint or a Hugging Face folder",
                       "Example: galleon evaluate --model run/checkpoints/step-00001000 --data 'books/*.txt'", code_);
    add_passed_through(app_, "generate", "sample text from a checkpoint or a Hugging Face folder",
                       "Example: galleon generate --model run/checkpoints/step-00001000 --prompt 'It is a truth'",
                       code_);
    add_passed_through(
        app_, "tokenize", "write a token file",
        "Example: galleon tokenize --tokenizer tokenizer.model --input 'books/*.txt' --output books.tokens", code_);
  }

  void add_submit() {
    CLI::App* submit = remote_command("submit", "hand a job to the scheduler", "galleon submit job.yaml --watch");
    submit->add_option("job", submit_.job, "the job file; - for standard input")->required();
    submit->add_flag("--watch", submit_.watch, "then show it until it ends");
    submit->add_flag("--wait", submit_.wait, "then wait until it ends");
    submit->add_flag("--validate-only", submit_.validate_only, "run every check and the plan, and store nothing");
    submit->add_option("--request-id", submit_.request_id, "makes a repeated submit return the first job");
    submit->callback([this] { code_ = run_submit(remote_, submit_); });
  }

  CLI::App* job_command(const char* name, const char* help, const char* example) {
    CLI::App* sub = remote_command(name, help, example);
    sub->add_option("job", job_, "the job's id")->required();
    return sub;
  }

  void add_job_commands() {
    CLI::App* list = remote_command("list", "jobs, newest first", "galleon list --state running");
    list->add_option("--state", list_.states, "only jobs in one of these states");
    list->add_option("--queue", list_.queue, "only jobs of this queue");
    list->add_option("--prefix", list_.prefix, "only jobs whose id begins so");
    list->callback([this] { code_ = run_list(remote_, list_); });
    job_command("get", "everything about a job", "galleon get llama-60m-c4-1 -o json")->callback([this] {
      code_ = run_get(remote_, job_);
    });
    job_command("watch", "show a job until it ends", "galleon watch llama-60m-c4-1")->callback([this] {
      code_ = run_watch(remote_, job_);
    });
    CLI::App* logs = job_command("logs", "what a rank of a job printed", "galleon logs -f llama-60m-c4-1 --rank 1");
    logs->add_flag("-f,--follow", logs_.follow, "go on until it ends");
    logs->add_option("--attempt", logs_.attempt, "the newest by default");
    logs->add_option("--rank", logs_.rank, "0 by default");
    logs->add_flag("--raw", logs_.raw, "with its control characters, which a terminal obeys; else they are shown");
    logs->callback([this] { code_ = run_logs(remote_, job_, logs_); });
    CLI::App* cancel = job_command("cancel", "end a job; it keeps its checkpoints", "galleon cancel llama-60m-c4-1");
    cancel->add_option("--reason", reason_, "kept with the job");
    cancel->callback([this] { code_ = run_cancel(remote_, job_, reason_); });
    CLI::App* wait = job_command(
        "wait", "wait until a job ends; exits 0, 1, 2 for SUCCEEDED, FAILED, CANCELLED, 4 if it cannot tell",
        "galleon wait llama-60m-c4-1 --timeout 3600");
    wait->add_option("--timeout", timeout_, "seconds, then exit code 3")->check(CLI::NonNegativeNumber);
    wait->callback([this] { code_ = run_wait(remote_, job_, timeout_); });
    job_command("attempts", "how each attempt at a job went", "galleon attempts llama-60m-c4-1")->callback([this] {
      code_ = run_attempts(remote_, job_);
    });
    CLI::App* compare =
        command("compare", "results of jobs side by side", "galleon compare llama-60m-galore-1 llama-60m-full-2");
    add_server_option(compare);
    compare->add_option("jobs", jobs_, "their ids")->required();
    compare->callback([this] { code_ = run_compare(remote_, jobs_); });
    remote_command("workers", "machines and their slots", "galleon workers")->callback([this] {
      code_ = run_workers(remote_);
    });
  }

  void add_operator_commands() {
    remote_command("queues", "queues, what they use and would get", "galleon queues")->callback([this] {
      code_ = run_queues(remote_);
    });
    CLI::App* events = remote_command("events", "what happened to a job, a worker, or all of them",
                                      "galleon events -f llama-60m-c4-1");
    events->add_option("subject", job_, "a job's id, or workers/NAME; everything by default");
    events->add_flag("-f,--follow", follow_, "go on with what comes");
    events->callback([this] { code_ = run_events(remote_, job_, follow_); });
    CLI::App* top = remote_command("top", "queues, jobs and workers, as they change", "galleon top");
    top->add_flag("--once", once_, "print it one time");
    top->callback([this] { code_ = run_top(remote_, once_); });
    CLI::App* again = job_command("reprioritize", "change the priority or the queue of a job",
                                  "galleon reprioritize llama-60m-c4-1 --priority 5");
    again->add_option("--priority", priority_, "higher goes first within a queue");
    again->add_option("--queue", list_.queue, "another queue");
    again->callback([this] { code_ = run_reprioritize(remote_, job_, priority_, list_.queue); });
  }

  void add_worker_orders() {
    const std::tuple<const char*, WorkerOrder, const char*> orders[] = {
        {"cordon", WorkerOrder::kCordon, "give a worker no new work"},
        {"drain", WorkerOrder::kDrain, "give a worker no new work, and let others take over what it runs"},
        {"undrain", WorkerOrder::kUndrain, "give a worker work again after cordon or drain"},
    };
    for (const auto& [name, order, help] : orders) {
      CLI::App* sub = remote_command(name, help, (std::string("galleon ") + name + " gpu-7").c_str());
      sub->add_option("worker", worker_, "its name")->required();
      if (order != WorkerOrder::kUndrain) sub->add_option("--reason", reason_, "shown with the worker");
      sub->callback([this, order = order] { code_ = run_order(remote_, worker_, order, reason_); });
    }
  }

  void add_admin() {
    CLI::App* admin = command("admin", "for those who run the scheduler", "galleon admin backup galleon.db");
    admin->require_subcommand(1);
    CLI::App* backup = admin->add_subcommand("backup", "copy the scheduler's journal into a file, while jobs go on");
    backup->footer(
        "Example: galleon admin backup galleon.db\n"
        "galleon-scheduler --data DIR --restore galleon.db puts it back.");
    add_server_option(backup);
    backup->add_option("file", file_, "where to write it")->required();
    backup->add_flag("--yes", yes_, "replace a file that is there, without asking");
    backup->callback([this] { code_ = run_backup(remote_, file_, yes_); });
    CLI::App* reload = admin->add_subcommand(
        "reload", "have the scheduler read its files again: queues, access, notifications, certificates");
    reload->footer(
        "Example: galleon admin reload\n"
        "All of them are taken, or none where one has a fault; what changes is printed. Running jobs go on.");
    add_server_option(reload);
    add_format_option(reload);
    reload->add_flag("--validate-only", validate_only_, "read and compare, and leave everything as it is");
    reload->callback([this] { code_ = run_reload(remote_, validate_only_); });
    CLI::App* init = admin->add_subcommand("init-tls", "make an authority, and folders for --tls of each program");
    init->footer("Example: galleon admin init-tls /etc/galleon/tls --host scheduler.example.org");
    init->add_option("folder", init_.folder, "where to make them")->required();
    init->add_option("--host", init_.hosts, "a name or address by which the scheduler is reached; repeatable");
    init->add_option("--client", init_.client, "one more client of the authority that is there, by this name");
    init->add_flag("--token", init_.token,
                   "with --client: a token too, and the line for the scheduler's --access file");
    init->add_option("--days", init_.days, "how long the certificates are valid")
        ->check(CLI::Range(1, 36500))
        ->capture_default_str();
    init->callback([this] { code_ = run_init_tls(init_); });
  }

  void add_completion() {
    CLI::App* completion =
        command("completion", "print completion for a shell: bash or zsh", "source <(galleon completion bash)");
    completion->add_option("shell", shell_, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
    completion->callback([this] { std::cout << completion_script(app_, shell_); });
  }

  CLI::App app_{
      "Galleon trains language models that need more GPU memory than you have: low-rank gradients, sharded optimizer "
      "state."};
  Remote remote_;
  TrainArguments train_;
  SubmitArguments submit_;
  std::string plan_job_;
  std::string job_;
  std::vector<std::string> jobs_;
  std::string reason_;
  ListArguments list_;
  InitTlsArguments init_;
  std::optional<int32_t> priority_;
  std::string worker_;
  std::string file_;
  std::string shell_;
  bool once_ = false;
  bool yes_ = false;
  bool validate_only_ = false;
  LogsArguments logs_;
  bool follow_ = false;
  double timeout_ = 0;
  int code_ = 0;
};

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  return galleon::Program().run(argc, argv);
}
