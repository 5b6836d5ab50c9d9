// Commands about queues, workers and the scheduler itself.
#include <tuple>

#include "client/program.h"

namespace galleon {

void Program::add_operator_commands() {
  remote_command("queues", "queues, what they use and would get, and who uses them", "galleon queues")
      ->callback([this] { code_ = run_queues(remote_); });
  remote_command("projects", "what projects and their users have waiting and kept, and what they may",
                 "galleon projects")
      ->callback([this] { code_ = run_projects(remote_); });
  CLI::App* events =
      remote_command("events", "what happened to a job, a worker, or all of them", "galleon events -f llama-60m-c4-1");
  events->add_option("subject", job_, "a job's id, or workers/NAME; everything by default");
  events->add_flag("-f,--follow", follow_, "go on with what comes");
  events->callback([this] { code_ = run_events(remote_, job_, follow_); });
  CLI::App* top = remote_command("top", "queues, jobs and workers, as they change", "galleon top");
  top->add_flag("--once", once_, "print it one time");
  top->callback([this] { code_ = run_top(remote_, once_); });
}

void Program::add_worker_orders() {
  const std::tuple<const char*, WorkerOrder, const char*> orders[] = {
      {"cordon", WorkerOrder::kCordon, "give a worker no new work"},
      {"drain", WorkerOrder::kDrain, "give a worker no new work, and let others take over what it runs"},
      {"undrain", WorkerOrder::kUndrain, "give a worker work again after cordon or drain"},
  };
  for (const auto& [name, order, help] : orders) {
    CLI::App* sub = remote_command(name, help, (std::string("galleon ") + name + " gpu-7").c_str());
    sub->add_option("worker", worker_, "its name")->required();
    if (order != WorkerOrder::kUndrain) sub->add_option("--reason", reason_, "shown with the worker");
    if (order == WorkerOrder::kDrain) {
      sub->add_flag("--wait", drain_.wait, "then wait until it is DRAINED");
      sub->add_option("--deadline", drain_.deadline, "with --wait: seconds, then exit code 3; the drain goes on")
          ->check(CLI::PositiveNumber);
    }
    sub->callback([this, order = order] { code_ = run_order(remote_, worker_, order, reason_, drain_); });
  }
  CLI::App* forget = command("forget", "take a worker that is gone out of the list", "galleon forget gpu-7");
  add_server_option(forget);
  forget->add_option("worker", worker_, "its name")->required();
  forget->callback([this] { code_ = run_forget(remote_, worker_); });
}

void Program::add_admin() {
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
  init->add_flag("--token", init_.token, "with --client: a token too, and the line for the scheduler's --access file");
  init->add_option("--days", init_.days, "how long the certificates are valid")
      ->check(CLI::Range(1, 36500))
      ->capture_default_str();
  init->callback([this] { code_ = run_init_tls(init_); });
}

}  // namespace galleon
