#include "client/completion.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace galleon {

namespace {

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

// The first positional argument decides what words without a dash can be.
std::string positional(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) return option->get_name(true);
  }
  return "";
}

// A `case` of the words that may follow each command.
std::string cases(const CLI::App& app) {
  std::string text;
  for (const CLI::App* command : app.get_subcommands({})) {
    std::vector<std::string> words = option_names(*command);
    for (const CLI::App* inner : command->get_subcommands({})) words.push_back(inner->get_name());
    const std::string first = positional(*command);
    std::string more;
    if (first == "job" && command->get_name() != "submit" && command->get_name() != "train" &&
        command->get_name() != "plan") {
      more = " $(_galleon_names list)";
    }
    if (first == "jobs" || first == "subject") more = " $(_galleon_names list)";
    // galleon-trainer knows the options of what is passed on to it.
    if (command->get_prefix_command()) more = absl::StrCat(" --help $(_galleon_options ", command->get_name(), ")");
    if (first == "worker") more = " $(_galleon_names workers)";
    if (first == "shell") more = " bash zsh";
    absl::StrAppend(&text, "    ", command->get_name(), ") words=\"", absl::StrJoin(words, " "), more, "\";;\n");
  }
  return text;
}

}  // namespace

std::string completion_script(const CLI::App& app, const std::string& shell) {
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands({})) commands.push_back(command->get_name());
  const std::string names =
      "_galleon_names() { galleon \"$1\" 2>/dev/null | awk 'NR > 1 { print $1 }'; }\n"
      "_galleon_options() { galleon \"$1\" --help 2>/dev/null | grep -oE -e '--[a-z][a-z-]*' | sort -u; }\n";
  const std::string choose =
      absl::StrCat("  local words=\"\"\n  case \"$command\" in\n", cases(app), "    *) words=\"",
                   absl::StrJoin(commands, " "), " ", absl::StrJoin(option_names(app), " "), "\";;\n  esac\n");
  if (shell == "zsh") {
    return absl::StrCat("#compdef galleon\n", names,
                        "_galleon() {\n  local command=\"${words[2]}\"\n  (( CURRENT == 2 )) && command=\"\"\n",
                        "  _galleon_words \"$command\"\n}\n", "_galleon_words() {\n  local command=\"$1\"\n", choose,
                        "  compadd -- ${=words}\n  [[ \"$PREFIX\" == -* ]] || _files\n}\ncompdef _galleon galleon\n");
  }
  return absl::StrCat(
      names, "_galleon() {\n  local command=\"\"\n  (( COMP_CWORD > 1 )) && command=\"${COMP_WORDS[1]}\"\n", choose,
      "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
      "complete -o default -F _galleon galleon\n");
}

}  // namespace galleon
