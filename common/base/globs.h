// Paths by pattern, as shells expand them.
#pragma once

#include <string>
#include <vector>

namespace galleon {

// Whether the text has a character that means something in a pattern: * ? [ {
bool has_glob(const std::string& pattern);

// Files and folders that match `pattern`, sorted by their bytes and each once; empty: none. `*`, `?` and `[…]` stand
// for characters within a name, `{a,b}` for either text, and a component `**` for any number of folders, none included.
// Names with a leading dot are matched by a dot alone. `**` follows no symbolic link to a folder, so that it ends. A
// name that exists as it is written wins over what its characters mean, and so does a component of it.
std::vector<std::string> glob_paths(const std::string& pattern);

// Whether a path that need not exist matches `pattern` in the same way, but for names that win over their characters.
bool matches_glob(const std::string& pattern, const std::string& path);

}  // namespace galleon
