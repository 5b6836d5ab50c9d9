// Commands about jobs that the scheduler has.
#include "absl/strings/ascii.h"
#include "client/program.h"

namespace galleon {

void Program::add_selection(CLI::App* app, const char* queue) {
  app->add_option("jobs", selection_.jobs, "ids of jobs and groups; or which ones, with the options below");
  add_filters(app, selection_, queue);
  app->add_flag("--all", selection_.all, "every job that it can be done to");
  app->parse_complete_callback([this, queue] {
    if (selection_.by_name() || selects_by_filters(selection_)) return;
    throw CLI::ValidationError(
        "jobs",
        std::string("give a job's id, or select with --state, --owner, --label, --group, ") + queue + " or --all");
  });
}

void Program::add_filters(CLI::App* app, Selection& selection, const char* queue) {
  // Where jobs may be named, the word behind a value is one of them.
  const bool names = app->get_option_no_throw("jobs") != nullptr;
  app->add_option(queue, selection.queue, "jobs of this queue");
  app->add_option("--state", selection.states, "jobs in one of these states; repeatable")->allow_extra_args(!names);
  app->add_option("--owner", selection.owner, "jobs that this one submitted");
  app->add_option("--group", selection.group, "jobs of this group");
  app->add_option("--label", selection.labels, "KEY=VALUE: jobs with this label; repeatable: with all of them")
      ->allow_extra_args(!names);
}

CLI::App* Program::order_command(const char* name, const char* help, const char* example, const char* queue) {
  CLI::App* sub = remote_command(name, help, example);
  add_selection(sub, queue);
  sub->add_flag("--yes", selection_.yes, "do it to all that are selected, without asking");
  return sub;
}

CLI::App* Program::job_command(const char* name, const char* help, const char* example) {
  CLI::App* sub = remote_command(name, help, example);
  sub->add_option("job", job_, "the job's id")->required();
  return sub;
}

void Program::add_job_commands() {
  add_list();
  CLI::App* get = remote_command("get", "everything about jobs", "galleon get llama-60m-c4-1 -o json");
  add_selection(get);
  get->add_flag("--job-file", job_file_, "its job file, as YAML that galleon submit takes");
  get->callback([this] { code_ = run_get(remote_, selection_, job_file_); });
  job_command("watch", "show a job until it ends", "galleon watch llama-60m-c4-1")->callback([this] {
    code_ = run_watch(remote_, job_);
  });
  CLI::App* logs = job_command("logs", "what a rank of a job printed", "galleon logs -f llama-60m-c4-1 --rank 1");
  logs->add_flag("-f,--follow", logs_.follow, "go on until it ends");
  logs->add_option("--attempt", logs_.attempt, "the newest by default");
  logs->add_option("--rank", logs_.rank, "0 by default");
  logs->add_option("--tail", logs_.tail, "only its last lines, so many")->check(CLI::PositiveNumber);
  logs->add_option("--since", logs_.since, "only lines since then: 10m ago, 12h, 2d, a day, or a time");
  logs->add_flag("--raw", logs_.raw, "with its control characters, which a terminal obeys; else they are shown");
  logs->callback([this] { code_ = run_logs(remote_, job_, logs_); });
  CLI::App* wait =
      job_command("wait", "wait until a job ends; exits 0, 1, 2 for SUCCEEDED, FAILED, CANCELLED, 4 if it cannot tell",
                  "galleon wait llama-60m-c4-1 --timeout 3600");
  wait->add_option("--timeout", timeout_, "seconds, then exit code 3")->check(CLI::NonNegativeNumber);
  wait->callback([this] { code_ = run_wait(remote_, job_, timeout_); });
  job_command("attempts", "how each attempt at a job went", "galleon attempts llama-60m-c4-1")->callback([this] {
    code_ = run_attempts(remote_, job_);
  });
  CLI::App* compare = remote_command("compare", "results of jobs, or of a group of them, the best first",
                                     "galleon compare llama-60m-galore-1 llama-60m-full-2\n"
                                     "Of a sweep: galleon compare llama-60m-g3 --plot curves.svg");
  compare->add_option("jobs", compare_.jobs, "ids of jobs and groups")->required();
  compare->add_flag("--csv", compare_.csv, "as comma-separated values");
  compare->add_option("--plot", compare_.plot, "write their losses over the steps to this file, as SVG");
  compare->add_flag("--log", compare_.logarithmic, "with --plot: the losses on a logarithmic scale");
  compare->callback([this] { code_ = run_compare(remote_, compare_); });
  remote_command("workers", "machines and their slots", "galleon workers")->callback([this] {
    code_ = run_workers(remote_);
  });
}

void Program::add_list() {
  CLI::App* list = command("list", "jobs, newest first", "galleon list --state running --label team=nlp --limit 20");
  add_server_option(list);
  list->add_option_function<std::string>(
          "-o,--output",
          [this](const std::string& word) {
            list_.wide = absl::AsciiStrToLower(word) == "wide";
            if (!list_.wide) remote_.format = format_of(word, "table, wide, json, yaml");
          },
          "table, wide (more columns), json or yaml")
      ->type_name("TEXT:{table,wide,json,yaml}")
      ->trigger_on_parse();
  add_filters(list, list_.which);
  list->add_option("--prefix", list_.prefix, "only jobs whose id begins so");
  list->add_option("--since", list_.since, "only jobs submitted since then: 10m ago, 12h, 2d, a day, or a time");
  list->add_option("--limit", list_.limit, "so many at most")->check(CLI::PositiveNumber);
  list->add_flag("--members", list_.members, "the jobs of each group, which is one line else");
  list->add_option("--sort", list_.sort, "what comes first")
      ->check(CLI::IsMember({"newest", "oldest", "name", "queue", "state", "priority", "ended"}))
      ->capture_default_str();
  list->callback([this] { code_ = run_list(remote_, list_); });
}

void Program::add_job_orders() {
  CLI::App* cancel = order_command("cancel", "end jobs; they keep their checkpoints", "galleon cancel llama-60m-c4-1");
  cancel->add_option("--reason", reason_, "kept with the job");
  cancel->callback([this] { code_ = run_cancel(remote_, selection_, reason_); });
  CLI::App* hold = order_command("hold", "keep jobs that wait from starting, until they are released",
                                 "galleon hold llama-60m-c4-1 --reason 'new data comes'");
  hold->add_option("--reason", reason_, "shown with the job");
  hold->add_flag("--preempt", preempt_, "one that runs writes a checkpoint, and waits held; else it is refused");
  hold->callback([this] { code_ = run_hold(remote_, selection_, reason_, preempt_); });
  order_command("release", "let held jobs start again", "galleon release llama-60m-c4-1")->callback([this] {
    code_ = run_release(remote_, selection_);
  });
  CLI::App* requeue = order_command("requeue", "have jobs that run write a checkpoint, and queue again",
                                    "galleon requeue llama-60m-c4-1");
  requeue->add_option("--reason", reason_, "kept with the job");
  requeue->callback([this] { code_ = run_requeue(remote_, selection_, reason_); });
  CLI::App* resume =
      order_command("resume", "have jobs that failed or were cancelled go on from their newest checkpoint",
                    "galleon resume llama-60m-c4-1\n"
                    "With --set it is a new job: galleon resume llama-60m-c4-1 --set training.steps=20000");
  resume->add_option("--set", settings_, "KEY=VALUE of the job file; repeatable")->allow_extra_args(false);
  resume->callback([this] { code_ = run_resume(remote_, selection_, settings_); });
  CLI::App* remove = order_command("delete", "take away jobs that have ended: record, logs and folder",
                                   "galleon delete llama-60m-c4-1 --keep-checkpoints");
  remove->add_flag("--keep-checkpoints", keep_checkpoints_, "leave their published checkpoints, and say where");
  remove->callback([this] { code_ = run_delete(remote_, selection_, keep_checkpoints_); });
  CLI::App* again = order_command("reprioritize", "change the priority or the queue of jobs",
                                  "galleon reprioritize llama-60m-c4-1 --priority 5", "--in-queue");
  again->add_option("--priority", priority_, "higher goes first within a queue");
  again->add_option("--queue", list_.which.queue, "another queue");
  again->callback([this] { code_ = run_reprioritize(remote_, selection_, priority_, list_.which.queue); });
}

}  // namespace galleon
