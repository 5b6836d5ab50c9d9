// Where a program's own libraries look for further ones, as they were linked (DT_RUNPATH, DT_RPATH).
#pragma once

#include <string>
#include <vector>

namespace galleon {

// Folders that an ELF file of this machine names; none where it is none, or cannot be read.
std::vector<std::string> library_folders(const std::string& file);

}  // namespace galleon
