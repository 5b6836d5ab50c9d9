// The command line of `galleon`: its commands, their options, and what each of them calls.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/commands.h"
#include "client/contexts.h"

namespace galleon {

class Program {
 public:
  // The exit code.
  int run(int argc, char** argv);

 private:
  static bool waits(int argc, char** argv) { return argc > 1 && std::string(argv[1]) == "wait"; }
  static OutputFormat format_of(const std::string& word, const char* accepted = "table, json, yaml");
  // A command was given without one of those below it; its help says which there are.
  bool lacks_subcommand(const CLI::ParseError& error) const;
  CLI::App* command(const char* name, const char* help, const char* example);
  void use_tls(const std::string& folder);
  void use_server(const std::string& server);
  // The scheduler of --context, or of the current context where no server was named.
  void settle_context();
  void add_server_option(CLI::App* app);
  void add_format_option(CLI::App* app);
  // A command that speaks to the scheduler.
  CLI::App* remote_command(const char* name, const char* help, const char* example);
  void add_local();
  void add_submit();
  void add_completion();

  // job_options.cc
  // Which jobs it is about. `queue`: how the queue that they are in is called there.
  void add_selection(CLI::App* app, const char* queue = "--queue");
  void add_filters(CLI::App* app, Selection& selection, const char* queue = "--queue");
  // One that changes the jobs it is about.
  CLI::App* order_command(const char* name, const char* help, const char* example, const char* queue = "--queue");
  CLI::App* job_command(const char* name, const char* help, const char* example);
  void add_job_commands();
  void add_list();
  void add_job_orders();

  // operator_options.cc
  void add_operator_commands();
  void add_worker_orders();
  void add_admin();

  // context_options.cc
  void add_config();

  CLI::App app_{
      "Galleon trains language models that need more GPU memory than you have: low-rank gradients, sharded optimizer "
      "state."};
  Remote remote_;
  bool server_given_ = false;   // by the environment
  bool tls_given_ = false;      // by either
  bool server_option_ = false;  // by the command line
  bool tls_option_ = false;
  std::string context_;
  ContextArguments context_arguments_;
  TrainArguments train_;
  SubmitArguments submit_;
  std::string plan_job_;
  std::string plan_gpu_;
  std::string job_;
  CompareArguments compare_;
  Selection selection_;
  std::vector<std::string> settings_;
  bool job_file_ = false;
  bool preempt_ = false;
  bool keep_checkpoints_ = false;
  DrainWait drain_;
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

}  // namespace galleon
