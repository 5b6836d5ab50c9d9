// The bytes of an input file from its first to its last, unpacked on the way, in bounded memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

class InputStream {
 public:
  virtual ~InputStream() = default;
  // Fills `out` with up to `size` bytes; 0: the end. DATA_LOSS: damaged or cut short, with the path.
  virtual absl::StatusOr<size_t> read(char* out, size_t size) = 0;
  // Bytes that were taken from the file so far, before they were unpacked.
  virtual int64_t position() const = 0;
};

// A file; what it is packed with (unpackers.h) is recognised by its first bytes.
absl::StatusOr<std::unique_ptr<InputStream>> open_input(const std::string& path);
// Up to `size` first bytes of a stream, and a stream that gives them again and then the rest.
absl::StatusOr<std::unique_ptr<InputStream>> look_ahead(std::unique_ptr<InputStream> stream, size_t size,
                                                        std::string& first);
// Whether a file is packed.
bool is_compressed(const std::string& path);
// The same for bytes in memory, which must outlive the stream; `name` is for errors.
absl::StatusOr<std::unique_ptr<InputStream>> open_input_bytes(absl::string_view bytes, const std::string& name);

}  // namespace galleon
