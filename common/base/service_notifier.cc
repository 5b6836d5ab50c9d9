#include "common/base/service_notifier.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/files.h"
#include "common/base/log.h"

namespace galleon {

namespace {

std::string taken(const char* variable) {
  const char* value = std::getenv(variable);
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(variable);
  return text;
}

}  // namespace

ServiceNotifier ServiceNotifier::from_environment() {
  const std::string socket = taken("NOTIFY_SOCKET");
  const std::string watchdog = taken("WATCHDOG_USEC");
  const std::string whose = taken("WATCHDOG_PID");
  int64_t microseconds = 0;
  const bool ours = whose.empty() || whose == absl::StrCat(::getpid());
  if (!ours || !absl::SimpleAtoi(watchdog, &microseconds) || microseconds < 0) microseconds = 0;
  return ServiceNotifier(socket, absl::Microseconds(microseconds));
}

// A quarter of the time: two signs of life may be late.
ServiceNotifier::ServiceNotifier(std::string socket, absl::Duration watchdog)
    : socket_(std::move(socket)), pause_(watchdog / 4) {}

void ServiceNotifier::ready(absl::string_view status) const {
  tell(absl::StrCat("READY=1\nSTATUS=", absl::StrReplaceAll(status, {{"\n", " "}}), "\n"));
}

// The time is that of CLOCK_MONOTONIC, which is what a service manager compares it with.
void ServiceNotifier::reloading() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  tell(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", absl::ToInt64Microseconds(absl::DurationFromTimespec(now)), "\n"));
}

void ServiceNotifier::stopping() const {
  tell("STOPPING=1\n");
}

void ServiceNotifier::progressed(absl::Duration now) {
  if (pause_ <= absl::ZeroDuration() || now < next_) return;
  next_ = now + pause_;
  tell("WATCHDOG=1\n");
}

void ServiceNotifier::tell(const std::string& lines) const {
  if (socket_.empty()) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const bool known = (socket_[0] == '/' || socket_[0] == '@') && socket_.size() < sizeof(address.sun_path);
  if (!known) return log_warning("NOTIFY_SOCKET names neither a path nor an abstract socket: ", socket_);
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  if (socket_[0] == '@') address.sun_path[0] = '\0';
  const FileDescriptor out(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  if (!out.valid() || ::sendto(out.get(), lines.data(), lines.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                               reinterpret_cast<const sockaddr*>(&address), size) < 0) {
    log_warning("cannot tell the service manager at ", socket_, ": ", std::strerror(errno));
  }
}

}  // namespace galleon
