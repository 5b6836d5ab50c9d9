#include "worker/daemon/trainer_link.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>

#include "common/base/status_macros.h"

namespace galleon {

absl::Status TrainerLink::connect(const std::string& path) {
  ASSIGN_OR_RETURN(int socket, connect_unix(path));
  socket_ = FileDescriptor(socket);
  ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
  decoder_ = FrameDecoder();
  outgoing_.clear();
  return absl::OkStatus();
}

std::vector<v1::TrainerEvent> TrainerLink::receive() {
  std::vector<v1::TrainerEvent> events;
  bool ended = false;
  while (connected() && !ended) {
    char buffer[1 << 16];
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof(buffer), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    ended = n <= 0;
    if (n > 0) decoder_.append({buffer, static_cast<size_t>(n)});
    while (true) {
      absl::StatusOr<std::optional<std::string>> frame = decoder_.next();
      if (!frame.ok()) {
        ended = true;
        break;
      }
      if (!frame->has_value()) break;
      v1::TrainerEvent event;
      if (!event.ParseFromString(**frame)) {
        ended = true;
        break;
      }
      events.push_back(std::move(event));
    }
  }
  if (ended) close();
  return events;
}

void TrainerLink::send(const v1::TrainerCommand& command) {
  if (!connected()) return;
  outgoing_ += encode_frame(command.SerializeAsString());
  flush();
}

void TrainerLink::flush() {
  while (connected() && !outgoing_.empty()) {
    const ssize_t n = ::send(socket_.get(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n <= 0) return close();
    outgoing_.erase(0, static_cast<size_t>(n));
  }
}

void TrainerLink::close() {
  socket_.reset();
  outgoing_.clear();
}

}  // namespace galleon
