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

// A file, or an object of an object store by its address, which is read ahead by a thread; gzip, zstd, bzip2 and xz are
// recognised by their first bytes (unpacking.h).
absl::StatusOr<std::unique_ptr<InputStream>> open_input(const std::string& path);
// The first bytes as they lie there, up to `size` of them.
absl::StatusOr<std::string> first_bytes(const std::string& path, size_t size);
// Whether a file's first bytes are those of a compressed file.
bool is_compressed(const std::string& path);
// The same for bytes in memory, which must outlive the stream; `name` is for errors.
absl::StatusOr<std::unique_ptr<InputStream>> open_input_bytes(absl::string_view bytes, const std::string& name);

}  // namespace galleon
