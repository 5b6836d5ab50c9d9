// galleon: the command that people use.
#include <CLI/CLI.hpp>

#include <cstdlib>
#include <iostream>
#include <map>
#include <string>

#include "client/commands.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {
namespace {

const std::map<std::string, OutputFormat> kFormats = {
    {"table", OutputFormat::kTable}, {"json", OutputFormat::kJson}, {"yaml", OutputFormat::kYaml}};

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
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
      if (const std::vector<std::string> words = app_.remaining(); app_.get_subcommands().empty() && !words.empty()) {
        fail("there is no command \"" + words.front() + "\"; galleon --help lists them");
        return 2;
      }
      return app_.exit(e) == 0 ? 0 : 2;
    }
    return code_;
  }

 private:
  CLI::App* command(const char* name, const char* help, const char* example) {
    CLI::App* sub = app_.add_subcommand(name, help);
    sub->footer(std::string("Example: ") + example);
    return sub;
  }

  void add_server_option(CLI::App* app) {
    app->add_option("--server", remote_.server, "HOST:PORT of the scheduler (or GALLEON_SERVER)")
        ->capture_default_str();
  }

  // A command that speaks to the scheduler.
  CLI::App* remote_command(const char* name, const char* help, const char* example) {
    CLI::App* sub = command(name, help, example);
    add_server_option(sub);
    sub->add_option("-o,--output", remote_.format, "table, json or yaml")
        ->transform(CLI::CheckedTransformer(kFormats, CLI::ignore_case).description("{table,json,yaml}"));
    return sub;
  }

  void add_local() {
    CLI::App* train =
        command("train", "train on this machine, without the service", "galleon train job.yaml --output run --ranks 2");
    train->add_option("job", train_.job, "the job file")->required();
    train->add_option("--output", train_.output, "folder for metrics.jsonl and checkpoints; a run in it is resumed")
        ->required();
    train->add_option("--ranks", train_.ranks, "processes, instead of the job file's parallel.ranks")
        ->check(CLI::PositiveNumber);
    train->add_option("--threads", train_.threads, "of each process; all cores over the processes by default")
        ->check(CLI::PositiveNumber);
    train->callback([this] { code_ = run_train(train_); });

    CLI::App* plan = command("plan", "memory, wire and work of a job, before it runs", "galleon plan job.yaml");
    plan->add_option("job", plan_job_, "the job file")->required();
    plan->add_option("-o,--output", remote_.format, "table, json or yaml")
        ->transform(CLI::CheckedTransformer(kFormats, CLI::ignore_case).description("{table,json,yaml}"));
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
    submit->add_option("job", submit_.job, "the job file")->required();
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
    list->add_option("--state", states_, "only jobs in one of these states");
    list->callback([this] { code_ = run_list(remote_, states_); });
    job_command("get", "everything about a job", "galleon get llama-60m-c4-1 -o json")->callback([this] {
      code_ = run_get(remote_, job_);
    });
    job_command("watch", "show a job until it ends", "galleon watch llama-60m-c4-1")->callback([this] {
      code_ = run_watch(remote_, job_);
    });
    CLI::App* logs = job_command("logs", "what a rank of a job printed", "galleon logs -f llama-60m-c4-1 --rank 1");
    logs->add_flag("-f,--follow", follow_, "go on until it ends");
    logs->add_option("--attempt", attempt_, "the newest by default");
    logs->add_option("--rank", rank_, "0 by default");
    logs->callback([this] { code_ = run_logs(remote_, job_, attempt_, rank_, follow_); });
    CLI::App* cancel = job_command("cancel", "end a job; it keeps its checkpoints", "galleon cancel llama-60m-c4-1");
    cancel->add_option("--reason", reason_, "kept with the job");
    cancel->callback([this] { code_ = run_cancel(remote_, job_, reason_); });
    CLI::App* wait = job_command("wait", "wait until a job ends; exits 0, 1, 2 for SUCCEEDED, FAILED, CANCELLED",
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

  CLI::App app_{
      "Galleon trains language models with fewer GPUs than they want: low-rank gradients, sharded optimizer state."};
  Remote remote_;
  TrainArguments train_;
  SubmitArguments submit_;
  std::string plan_job_;
  std::string job_;
  std::vector<std::string> jobs_;
  std::string reason_;
  std::vector<std::string> states_;
  uint32_t attempt_ = 0;
  uint32_t rank_ = 0;
  bool follow_ = false;
  double timeout_ = 0;
  int code_ = 0;
};

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  return galleon::Program().run(argc, argv);
}
