// Length-delimited messages on a stream descriptor: a 4-byte little-endian length, then that many bytes.
#pragma once

#include <optional>
#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace galleon {

inline constexpr size_t kMaxFrameBytes = 16 << 20;

// `payload` with its length before it.
std::string encode_frame(absl::string_view payload);

// Cuts frames out of a stream of bytes that arrives in any pieces.
class FrameDecoder {
 public:
  void append(absl::string_view bytes) { buffer_.append(bytes.data(), bytes.size()); }
  // The next whole frame, nullopt if more bytes are needed; INVALID_ARGUMENT when a length exceeds kMaxFrameBytes.
  absl::StatusOr<std::optional<std::string>> next();

 private:
  std::string buffer_;
  size_t start_ = 0;
};

// Unix stream sockets by path. Paths of any length work: the socket is reached through its folder's descriptor.
// The listener replaces a stale socket file. Both return a descriptor with close-on-exec set.
absl::StatusOr<int> listen_unix(const std::string& path);
absl::StatusOr<int> connect_unix(const std::string& path);

}  // namespace galleon
