// Schedulers that one works with, by name, in a file of the user's own: what --context takes, and which of them is
// meant where nothing else is said.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace galleon {

struct Context {
  std::string server;  // HOST:PORT
  std::string tls;     // folder, absolute; empty: no TLS
};

struct Contexts {
  std::string current;  // empty: none
  std::map<std::string, Context> by_name;
};

// GALLEON_CONFIG, or galleon/config.yaml below XDG_CONFIG_HOME or ~/.config.
std::string contexts_path();
// None, where there is no file. INVALID_ARGUMENT names file, line and key.
absl::StatusOr<Contexts> load_contexts(const std::string& path);
// For its owner alone to read; folders are made.
absl::Status save_contexts(const Contexts& contexts, const std::string& path);

// NOT_FOUND names those that there are.
absl::StatusOr<Context> find_context(const Contexts& contexts, const std::string& name);

struct ContextArguments {
  std::string name;
  std::string server;
  std::string tls;
};
// The bodies of `galleon config …`; exit codes.
int run_set_context(const ContextArguments& arguments);
int run_use_context(const std::string& name);
int run_get_contexts();
int run_current_context();
int run_delete_context(const std::string& name);

}  // namespace galleon
