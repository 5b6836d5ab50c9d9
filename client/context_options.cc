// galleon config …
#include "client/program.h"

namespace galleon {

void Program::add_config() {
  CLI::App* config = command("config", "keep servers under names, as contexts", "galleon config use-context lab");
  config->require_subcommand(1);
  CLI::App* set = config->add_subcommand("set-context", "keep a server under a name, or change it");
  set->footer(
      "Example: galleon config set-context lab --server alpha:7070 --tls tls/admin\n"
      "The first is the current one, which all commands mean that name no server.");
  set->add_option("name", context_arguments_.name, "what to call it")->required();
  set->add_option("--server", context_arguments_.server, "HOST:PORT of the scheduler, or of several with commas between");
  set->add_option("--tls", context_arguments_.tls, "folder with ca.pem, and cert.pem with key.pem or token");
  set->callback([this] { code_ = run_set_context(context_arguments_); });
  CLI::App* use = config->add_subcommand("use-context", "make it the current one");
  use->footer("Example: galleon config use-context lab");
  use->add_option("name", context_arguments_.name, "its name")->required();
  use->callback([this] { code_ = run_use_context(context_arguments_.name); });
  CLI::App* list = config->add_subcommand("get-contexts", "all of them");
  list->footer("Example: galleon config get-contexts");
  list->callback([this] { code_ = run_get_contexts(); });
  CLI::App* current = config->add_subcommand("current-context", "the name of the current one");
  current->footer("Example: galleon config current-context");
  current->callback([this] { code_ = run_current_context(); });
  CLI::App* away = config->add_subcommand("delete-context", "forget one");
  away->footer("Example: galleon config delete-context lab");
  away->add_option("name", context_arguments_.name, "its name")->required();
  away->callback([this] { code_ = run_delete_context(context_arguments_.name); });
}

}  // namespace galleon
