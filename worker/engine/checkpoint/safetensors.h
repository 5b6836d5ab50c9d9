// The safetensors file format: an 8-byte little-endian header length, a JSON header of names, types, shapes and
// offsets, then the numbers (https://github.com/huggingface/safetensors, README). Numbers of any type are written
// and read as they lie in memory; fp32, fp16 and bf16 also as fp32.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/files.h"
#include "kernels/tensor.h"

namespace galleon {

struct TensorEntry {
  std::string type;  // "F32", "F16", "BF16", …
  std::vector<int64_t> shape;
  int64_t begin = 0;  // bytes from the start of the numbers
  int64_t end = 0;
  int64_t count() const;
};

// The name that a safetensors file has for a type.
std::string safetensors_type(DataType type);

class SafetensorsReader {
 public:
  // Reads and checks the header; allocates nothing beyond the file's size. DATA_LOSS names the file and what is wrong
  // with it.
  static absl::StatusOr<SafetensorsReader> open(const std::string& path);
  const std::string& path() const { return path_; }
  const std::map<std::string, TensorEntry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Numbers [first, first + count) of a tensor as fp32. NOT_FOUND, DATA_LOSS, INVALID_ARGUMENT (type).
  absl::Status read(const std::string& name, int64_t first, int64_t count, float* out) const;
  // The same numbers as they lie in the file, in the tensor's own type. NOT_FOUND, DATA_LOSS.
  absl::Status read_bytes(const std::string& name, int64_t first, int64_t count, void* out) const;

 private:
  std::string path_;
  FileDescriptor file_;
  int64_t data_start_ = 0;
  std::map<std::string, TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

struct TensorToWrite {
  std::string name;
  std::vector<int64_t> shape;
  // Called when its turn comes, so that one tensor is in memory at a time: the numbers of an F32 tensor, or the bytes
  // of one of another type.
  std::function<std::vector<float>()> values;
  std::string type = "F32";
  std::function<std::string()> bytes;
};

struct WrittenFile {
  int64_t bytes = 0;
  uint32_t crc32 = 0;
};

// Writes a file and flushes it to the disk; with `unflushed` the flush is left to whoever takes the descriptor.
// RESOURCE_EXHAUSTED: the disk is full, with the path.
absl::StatusOr<WrittenFile> write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                                              const std::map<std::string, std::string>& metadata,
                                              FileDescriptor* unflushed = nullptr);

// Size and checksum of a file as it lies on the disk.
absl::StatusOr<WrittenFile> checksum_file(const std::string& path);

}  // namespace galleon
