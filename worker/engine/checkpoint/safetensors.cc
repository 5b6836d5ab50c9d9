#include "worker/engine/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/json_depth.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxHeaderBytes = 100 << 20;

absl::Status damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, " is not a sound safetensors file: ", what));
}

int64_t width_of(const std::string& type) {
  if (type == "F64" || type == "I64" || type == "U64") return 8;
  if (type == "F32" || type == "I32" || type == "U32") return 4;
  if (type == "F16" || type == "BF16" || type == "I16" || type == "U16") return 2;
  return 1;
}

absl::Status read_exactly(int fd, const std::string& path, int64_t offset, int64_t bytes, void* out) {
  int64_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::pread(fd, static_cast<char*>(out) + done, bytes - done, offset + done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("cannot read", path, errno);
    if (n == 0) return damaged(path, "it ends too early");
    done += n;
  }
  return absl::OkStatus();
}

float from_half(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000U) << 16;
  const uint32_t exponent = (h >> 10) & 0x1FU;
  uint32_t mantissa = h & 0x3FFU;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(static_cast<float>(mantissa) * 5.9604644775390625e-8F));
}

absl::Status parse_entry(const std::string& path, const std::string& name, const nlohmann::json& value,
                         int64_t data_bytes, TensorEntry& entry) {
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
      !value["shape"].is_array() || !value.contains("data_offsets") || !value["data_offsets"].is_array() ||
      value["data_offsets"].size() != 2) {
    return damaged(path, absl::StrCat("the entry of ", name, " is malformed"));
  }
  entry.type = value["dtype"].get<std::string>();
  int64_t count = 1;
  for (const auto& dimension : value["shape"]) {
    if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() > (uint64_t{1} << 40))
      return damaged(path, absl::StrCat("the shape of ", name));
    const auto d = dimension.get<int64_t>();
    if (d != 0 && count > (int64_t{1} << 48) / d) return damaged(path, absl::StrCat("the shape of ", name));
    count *= d;
    entry.shape.push_back(d);
  }
  for (const auto& offset : value["data_offsets"]) {
    if (!offset.is_number_unsigned() || offset.get<uint64_t>() > static_cast<uint64_t>(data_bytes))
      return damaged(path, absl::StrCat("the offsets of ", name));
  }
  entry.begin = value["data_offsets"][0].get<int64_t>();
  entry.end = value["data_offsets"][1].get<int64_t>();
  if (entry.end - entry.begin != count * width_of(entry.type))
    return damaged(path, absl::StrCat("the size of ", name, " does not fit its shape"));
  return absl::OkStatus();
}

class ChecksummedFile {
 public:
  ChecksummedFile(std::string path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}
  absl::Status write(const void* data, int64_t bytes) {
    if (absl::Status s = write_all(file_.get(), {static_cast<const char*>(data), static_cast<size_t>(bytes)});
        !s.ok()) {
      return absl::Status(s.code(), absl::StrCat(path_, ": ", s.message()));
    }
    written_.bytes += bytes;
    const auto* next = static_cast<const Bytef*>(data);
    for (int64_t left = bytes; left > 0;) {
      const auto chunk = static_cast<uInt>(std::min<int64_t>(left, 1 << 30));
      written_.crc32 = static_cast<uint32_t>(::crc32(written_.crc32, next, chunk));
      next += chunk;
      left -= chunk;
    }
    return absl::OkStatus();
  }
  absl::StatusOr<WrittenFile> finish(FileDescriptor* unflushed) {
    if (unflushed != nullptr) {
      *unflushed = std::move(file_);
      return written_;
    }
    if (::fsync(file_.get()) != 0) return errno_status("cannot flush", path_, errno);
    return written_;
  }

 private:
  std::string path_;
  FileDescriptor file_;
  WrittenFile written_;
};

}  // namespace

int64_t TensorEntry::count() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

std::string safetensors_type(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return "F32";
    case DataType::kBFloat16:
      return "BF16";
    case DataType::kInt32:
      return "I32";
    case DataType::kUint8:
      return "U8";
    case DataType::kUint16:
      return "U16";
  }
  return "";
}

absl::StatusOr<SafetensorsReader> SafetensorsReader::open(const std::string& path) {
  SafetensorsReader reader;
  reader.path_ = path;
  ASSIGN_OR_RETURN(reader.file_, open_to_read(path));
  struct stat info {};
  if (::fstat(reader.file_.get(), &info) != 0) return errno_status("cannot read", path, errno);
  if (info.st_size < 8) return damaged(path, "it is shorter than its header");
  unsigned char prefix[8];
  RETURN_IF_ERROR(read_exactly(reader.file_.get(), path, 0, 8, prefix));
  uint64_t length = 0;
  for (int i = 0; i < 8; ++i) length |= static_cast<uint64_t>(prefix[i]) << (8 * i);
  if (length > kMaxHeaderBytes || length > static_cast<uint64_t>(info.st_size) - 8)
    return damaged(path, "the header is longer than the file");
  std::string header(length, '\0');
  RETURN_IF_ERROR(read_exactly(reader.file_.get(), path, 8, static_cast<int64_t>(length), header.data()));
  if (nested_too_deeply(header)) return damaged(path, "the header is nested too deeply");
  const nlohmann::json json = nlohmann::json::parse(header, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return damaged(path, "the header is not JSON");
  reader.data_start_ = 8 + static_cast<int64_t>(length);
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return damaged(path, "__metadata__ is not an object");
      for (const auto& [key, text] : value.items()) {
        if (text.is_string()) reader.metadata_[key] = text.get<std::string>();
      }
      continue;
    }
    TensorEntry entry;
    RETURN_IF_ERROR(parse_entry(path, name, value, info.st_size - reader.data_start_, entry));
    reader.entries_[name] = std::move(entry);
  }
  return reader;
}

absl::Status SafetensorsReader::read_bytes(const std::string& name, int64_t first, int64_t count, void* out) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return absl::NotFoundError(absl::StrCat(path_, " has no tensor ", name));
  const TensorEntry& entry = it->second;
  if (first < 0 || count < 0 || first + count > entry.count())
    return damaged(path_, absl::StrCat(name, " is too small"));
  const int64_t width = width_of(entry.type);
  return read_exactly(file_.get(), path_, data_start_ + entry.begin + first * width, count * width, out);
}

absl::Status SafetensorsReader::read(const std::string& name, int64_t first, int64_t count, float* out) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return absl::NotFoundError(absl::StrCat(path_, " has no tensor ", name));
  const TensorEntry& entry = it->second;
  if (first < 0 || count < 0 || first + count > entry.count())
    return damaged(path_, absl::StrCat(name, " is too small"));
  const int64_t start = data_start_ + entry.begin;
  if (entry.type == "F32") return read_exactly(file_.get(), path_, start + first * 4, count * 4, out);
  if (entry.type != "F16" && entry.type != "BF16") {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": ", name, " has type ", entry.type, "; F32, F16 or BF16 can be read"));
  }
  std::vector<uint16_t> half(count);
  RETURN_IF_ERROR(read_exactly(file_.get(), path_, start + first * 2, count * 2, half.data()));
  const bool bf16 = entry.type == "BF16";
  for (int64_t i = 0; i < count; ++i)
    out[i] = bf16 ? std::bit_cast<float>(static_cast<uint32_t>(half[i]) << 16) : from_half(half[i]);
  return absl::OkStatus();
}

absl::StatusOr<WrittenFile> write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                                              const std::map<std::string, std::string>& metadata,
                                              FileDescriptor* unflushed) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    int64_t bytes = width_of(tensor.type);
    for (const int64_t d : tensor.shape) bytes *= d;
    header[tensor.name] = {{"dtype", tensor.type}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  unsigned char prefix[8];
  for (int i = 0; i < 8; ++i) prefix[i] = static_cast<unsigned char>(text.size() >> (8 * i));

  ASSIGN_OR_RETURN(FileDescriptor opened, open_to_write(path, O_WRONLY | O_CREAT | O_TRUNC));
  ChecksummedFile file(path, std::move(opened));
  RETURN_IF_ERROR(file.write(prefix, 8));
  RETURN_IF_ERROR(file.write(text.data(), static_cast<int64_t>(text.size())));
  for (const TensorToWrite& tensor : tensors) {
    if (tensor.bytes) {
      const std::string bytes = tensor.bytes();
      RETURN_IF_ERROR(file.write(bytes.data(), static_cast<int64_t>(bytes.size())));
      continue;
    }
    const std::vector<float> values = tensor.values();
    RETURN_IF_ERROR(file.write(values.data(), static_cast<int64_t>(values.size()) * 4));
  }
  return file.finish(unflushed);
}

absl::StatusOr<WrittenFile> checksum_file(const std::string& path) {
  ASSIGN_OR_RETURN(const FileDescriptor file, open_to_read(path));
  WrittenFile result;
  std::vector<unsigned char> buffer(1 << 20);
  while (true) {
    const ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("cannot read", path, errno);
    if (n == 0) return result;
    result.bytes += n;
    result.crc32 = static_cast<uint32_t>(::crc32(result.crc32, buffer.data(), static_cast<uInt>(n)));
  }
}

}  // namespace galleon
