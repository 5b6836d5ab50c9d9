#include "common/base/frame.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon {

std::string encode_frame(absl::string_view payload) {
  std::string out(4, '\0');
  const auto length = static_cast<uint32_t>(payload.size());
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(length >> (8 * i));
  out.append(payload.data(), payload.size());
  return out;
}

absl::StatusOr<std::optional<std::string>> FrameDecoder::next() {
  if (buffer_.size() - start_ < 4) return std::nullopt;
  uint32_t length = 0;
  for (int i = 0; i < 4; ++i)
    length |= static_cast<uint32_t>(static_cast<unsigned char>(buffer_[start_ + i])) << (8 * i);
  if (length > kMaxFrameBytes)
    return absl::InvalidArgumentError(absl::StrCat("a frame of ", length, " bytes is not accepted"));
  if (buffer_.size() - start_ - 4 < length) return std::nullopt;
  std::string frame = buffer_.substr(start_ + 4, length);
  start_ += 4 + length;
  if (start_ > (1 << 20) || start_ == buffer_.size()) {
    buffer_.erase(0, start_);
    start_ = 0;
  }
  return frame;
}

namespace {

// A socket address for `path` that fits sun_path whatever the length of its folder's name.
absl::StatusOr<sockaddr_un> short_address(const std::string& path, FileDescriptor& folder) {
  const std::filesystem::path full(path);
  const std::string parent = full.parent_path().empty() ? "." : full.parent_path().string();
  folder = FileDescriptor(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return errno_status("cannot open", parent, errno);
  const std::string name = absl::StrCat("/proc/self/fd/", folder.get(), "/", full.filename().string());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.size() >= sizeof(address.sun_path))
    return absl::InvalidArgumentError(absl::StrCat("socket name too long: ", path));
  std::memcpy(address.sun_path, name.data(), name.size());
  return address;
}

}  // namespace

absl::StatusOr<int> listen_unix(const std::string& path) {
  FileDescriptor folder;
  ASSIGN_OR_RETURN(sockaddr_un address, short_address(path, folder));
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno_status("cannot create a socket for", path, errno);
  ::unlink(path.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(socket.get(), 4) != 0) {
    return errno_status("cannot listen on", path, errno);
  }
  return socket.release();
}

absl::StatusOr<int> connect_unix(const std::string& path) {
  FileDescriptor folder;
  ASSIGN_OR_RETURN(sockaddr_un address, short_address(path, folder));
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno_status("cannot create a socket for", path, errno);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return errno_status("cannot connect to", path, errno);
  }
  return socket.release();
}

}  // namespace galleon
