// Bytes of a file from anywhere in it, of this machine or of an object store.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace galleon {

class ByteRanges {
 public:
  // Errors of opening, with the path.
  static absl::StatusOr<std::unique_ptr<ByteRanges>> open(const std::string& path);
  virtual ~ByteRanges() = default;
  virtual int64_t size() const = 0;
  // Bytes read, which may be fewer than `size`; 0: the end.
  virtual absl::StatusOr<int64_t> read_at(int64_t offset, char* out, int64_t size) = 0;
};

}  // namespace galleon
