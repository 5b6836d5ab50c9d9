// A short name for the content of files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

class Fingerprint {
 public:
  void add(absl::string_view bytes);
  void add_number(int64_t number);
  // The files' sizes and their bytes; of files that have more than 64 MiB together, three samples of 64 KiB each.
  // Names do not count, nor whether they lie in an object store. Errors of opening and reading.
  absl::Status add_files(const std::vector<std::string>& paths);
  // Whether of files with so many bytes together all bytes count.
  static bool is_whole(int64_t bytes);
  // 16 hexadecimal digits.
  std::string text() const;

 private:
  uint64_t hash_ = 0xCBF29CE484222325ULL;
};

}  // namespace galleon
