// Completion for shells, from the commands and options that the program has.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace galleon {

// A script for "bash" or "zsh". Names of jobs and workers are asked from the scheduler when they are needed.
std::string completion_script(const CLI::App& app, const std::string& shell);

}  // namespace galleon
