#include "client/contexts.h"

#include <sys/stat.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands.h"
#include "client/output.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "common/net/tls_folder.h"

namespace galleon {

namespace {

constexpr size_t kLongestName = 63;

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName && absl::ascii_isalnum(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

absl::Status wrong(const std::string& path, const YAML::Node& at, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ":", at.Mark().line + 1, ": ", what));
}

std::string text_of(const YAML::Node& node) {
  return node.IsScalar() ? node.Scalar() : "";
}

absl::StatusOr<Context> read_context(const std::string& path, const std::string& name, const YAML::Node& fields) {
  const std::string where = absl::StrCat("contexts.", name);
  if (!fields.IsMap()) return wrong(path, fields, absl::StrCat(where, ": a mapping is expected"));
  Context context;
  for (const auto& field : fields) {
    const std::string key = text_of(field.first);
    if (key == "server") {
      context.server = text_of(field.second);
    } else if (key == "tls") {
      context.tls = text_of(field.second);
    } else {
      return wrong(path, field.first, absl::StrCat(where, " has no key \"", key, "\"; there are server, tls"));
    }
  }
  if (context.server.empty()) return wrong(path, fields, absl::StrCat(where, ".server: must be given, as HOST:PORT"));
  return context;
}

absl::StatusOr<Contexts> read_contexts(const std::string& path, const YAML::Node& root) {
  Contexts contexts;
  if (root.IsNull()) return contexts;
  if (!root.IsMap()) return wrong(path, root, "a mapping with \"contexts\" is expected");
  for (const auto& entry : root) {
    const std::string key = text_of(entry.first);
    if (key == "current") {
      contexts.current = text_of(entry.second);
    } else if (key != "contexts") {
      return wrong(path, entry.first, absl::StrCat("there is no key \"", key, "\"; there are current, contexts"));
    } else if (!entry.second.IsMap()) {
      return wrong(path, entry.second, "contexts: a mapping is expected");
    } else {
      for (const auto& context : entry.second) {
        const std::string name = text_of(context.first);
        if (!is_name(name)) return wrong(path, context.first, absl::StrCat("contexts: \"", name, "\" is not a name"));
        ASSIGN_OR_RETURN(contexts.by_name[name], read_context(path, name, context.second));
      }
    }
  }
  if (!contexts.current.empty() && !contexts.by_name.contains(contexts.current))
    return wrong(path, root, absl::StrCat("current: there is no context \"", contexts.current, "\""));
  return contexts;
}

// Reads the file, changes it and writes it.
template <typename Change>
int changed(const Change& change) {
  const std::string path = contexts_path();
  absl::StatusOr<Contexts> contexts = load_contexts(path);
  absl::Status status = contexts.status();
  std::string told;
  if (status.ok()) status = change(*contexts, told);
  if (status.ok()) status = save_contexts(*contexts, path);
  if (!status.ok()) return fail(std::string(status.message()));
  std::cout << told << "\n";
  return 0;
}

}  // namespace

std::string contexts_path() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (std::string path = variable("GALLEON_CONFIG"); !path.empty()) return path;
  if (const std::string folder = variable("XDG_CONFIG_HOME"); !folder.empty()) return folder + "/galleon/config.yaml";
  return variable("HOME") + "/.config/galleon/config.yaml";
}

absl::StatusOr<Contexts> load_contexts(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Contexts();
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
  try {
    return read_contexts(path, YAML::Load(text));
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(path, ":", e.mark.line + 1, ": ", e.msg));
  }
}

absl::Status save_contexts(const Contexts& contexts, const std::string& path) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  if (!contexts.current.empty()) out << YAML::Key << "current" << YAML::Value << contexts.current;
  out << YAML::Key << "contexts" << YAML::Value << YAML::BeginMap;
  for (const auto& [name, context] : contexts.by_name) {
    out << YAML::Key << name << YAML::Value << YAML::BeginMap << YAML::Key << "server" << YAML::Value << context.server;
    if (!context.tls.empty()) out << YAML::Key << "tls" << YAML::Value << context.tls;
    out << YAML::EndMap;
  }
  out << YAML::EndMap << YAML::EndMap;
  const std::string folder = std::filesystem::path(path).parent_path().string();
  if (!folder.empty()) RETURN_IF_ERROR(make_folders(folder));
  const mode_t before = ::umask(0077);
  absl::Status written = write_file_atomically(path, absl::StrCat(out.c_str(), "\n"));
  ::umask(before);
  return written;
}

absl::StatusOr<Context> find_context(const Contexts& contexts, const std::string& name) {
  if (const auto it = contexts.by_name.find(name); it != contexts.by_name.end()) return it->second;
  std::vector<std::string> names;
  for (const auto& [known, context] : contexts.by_name) names.push_back(known);
  return absl::NotFoundError(absl::StrCat(
      "there is no context \"", name, "\"",
      names.empty() ? "; galleon config set-context makes one" : "; there are " + absl::StrJoin(names, ", ")));
}

int run_set_context(const ContextArguments& arguments) {
  return changed([&](Contexts& contexts, std::string& told) -> absl::Status {
    if (!is_name(arguments.name)) {
      return absl::InvalidArgumentError(absl::StrCat("\"", arguments.name, "\" is not a name; use up to ", kLongestName,
                                                     " letters, digits, '-', '_' and '.'"));
    }
    const bool known = contexts.by_name.contains(arguments.name);
    Context& context = contexts.by_name[arguments.name];
    if (!arguments.server.empty()) context.server = arguments.server;
    if (context.server.empty()) return absl::InvalidArgumentError("a new context needs --server HOST:PORT");
    if (!arguments.tls.empty()) {
      RETURN_IF_ERROR(load_tls_folder(arguments.tls).status());
      context.tls = std::filesystem::absolute(arguments.tls).lexically_normal().string();
    }
    const bool first = contexts.current.empty();
    if (first) contexts.current = arguments.name;
    told = absl::StrCat(known ? "changed " : "added ", arguments.name, ": ", context.server,
                        context.tls.empty() ? ", without TLS" : absl::StrCat(", with ", context.tls),
                        first ? "; it is the current one" : "");
    return absl::OkStatus();
  });
}

int run_use_context(const std::string& name) {
  return changed([&](Contexts& contexts, std::string& told) -> absl::Status {
    ASSIGN_OR_RETURN(const Context context, find_context(contexts, name));
    contexts.current = name;
    told = absl::StrCat(name, " is the current one: ", context.server);
    return absl::OkStatus();
  });
}

int run_get_contexts() {
  const absl::StatusOr<Contexts> contexts = load_contexts(contexts_path());
  if (!contexts.ok()) return fail(std::string(contexts.status().message()));
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, context] : contexts->by_name)
    rows.push_back(
        {name == contexts->current ? "*" : "", name, context.server, context.tls.empty() ? "-" : context.tls});
  std::cout << table({"CURRENT", "NAME", "SERVER", "TLS"}, rows);
  return 0;
}

int run_current_context() {
  const absl::StatusOr<Contexts> contexts = load_contexts(contexts_path());
  if (!contexts.ok()) return fail(std::string(contexts.status().message()));
  if (contexts->current.empty()) return fail("no context is the current one; galleon config use-context makes one so");
  std::cout << contexts->current << "\n";
  return 0;
}

int run_delete_context(const std::string& name) {
  return changed([&](Contexts& contexts, std::string& told) -> absl::Status {
    RETURN_IF_ERROR(find_context(contexts, name).status());
    contexts.by_name.erase(name);
    const bool was_current = contexts.current == name;
    if (was_current) contexts.current.clear();
    told = absl::StrCat("deleted ", name, was_current ? ", which was the current one" : "");
    return absl::OkStatus();
  });
}

}  // namespace galleon
