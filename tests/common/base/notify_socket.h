// A service manager's socket, as NOTIFY_SOCKET names it.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "common/base/files.h"
#include "tests/patience.h"

namespace galleon {

class NotifySocket {
 public:
  explicit NotifySocket(const std::string& name)
      : name_(name), socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), size), 0) << name;
  }
  const std::string& name() const { return name_; }
  // The next message; "" where none comes within `patience`.
  std::string next(absl::Duration patience = kPatience) const {
    pollfd ready{socket_.get(), POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) <= 0) return "";
    char text[4096];
    const ssize_t size = ::recv(socket_.get(), text, sizeof(text), 0);
    return size < 0 ? "" : std::string(text, static_cast<size_t>(size));
  }
  // The next one that is no sign of life.
  std::string next_state() const {
    for (std::string text = next();; text = next()) {
      if (text != "WATCHDOG=1\n") return text;
    }
  }

 private:
  const std::string name_;
  const FileDescriptor socket_;
};

}  // namespace galleon
