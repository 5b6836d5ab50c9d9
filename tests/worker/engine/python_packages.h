// A Python with packages that tests compare with: the one that GALLEON_PYTHON names, else python3.
#pragma once

#include <cstdlib>
#include <string>

namespace galleon {

inline std::string python() {
  const char* named = std::getenv("GALLEON_PYTHON");
  return named != nullptr ? named : "python3";
}

// Whether it can import all of them: "torch, transformers".
inline bool python_has(const std::string& packages) {
  return std::system((python() + " -c 'import " + packages + "' >/dev/null 2>&1").c_str()) == 0;
}

}  // namespace galleon
