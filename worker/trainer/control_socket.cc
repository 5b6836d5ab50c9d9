#include "worker/trainer/control_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/clock.h"

namespace galleon {

namespace {

// Before the end of a lease that is not renewed a trainer stops with a checkpoint.
constexpr absl::Duration kTimeToSave = absl::Seconds(60);

}  // namespace

absl::StatusOr<std::unique_ptr<ControlSocket>> ControlSocket::start(FileDescriptor listener, const v1::Hello& hello,
                                                                    absl::Duration initial_lease) {
  std::unique_ptr<ControlSocket> control(new ControlSocket(std::move(listener), initial_lease));
  int wake[2];
  if (::pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) return errno_status("cannot create", "a pipe", errno);
  control->wake_read_ = FileDescriptor(wake[0]);
  control->wake_write_ = FileDescriptor(wake[1]);
  v1::TrainerEvent event;
  *event.mutable_hello() = hello;
  control->send(std::move(event));
  control->thread_ = std::thread([raw = control.get()] { raw->serve(); });
  return control;
}

ControlSocket::ControlSocket(FileDescriptor listener, absl::Duration initial_lease)
    : listener_(std::move(listener)), lease_(initial_lease) {}

ControlSocket::~ControlSocket() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  [[maybe_unused]] const ssize_t n = ::write(wake_write_.get(), "x", 1);
  if (thread_.joinable()) thread_.join();
}

void ControlSocket::send(v1::TrainerEvent event) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    event.set_sequence(++sequence_);
    event.set_time_ms(absl::ToUnixMillis(absl::Now()));
    unacknowledged_.push_back(std::move(event));
  }
  [[maybe_unused]] const ssize_t n = ::write(wake_write_.get(), "x", 1);
}

// Sends what the present connection has not seen, as far as it takes it now. False: it is gone.
bool ControlSocket::write_pending() {
  while (true) {
    if (unsent_.empty()) {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto next = std::find_if(unacknowledged_.begin(), unacknowledged_.end(),
                                     [&](const auto& e) { return e.sequence() > sent_; });
      if (next == unacknowledged_.end()) return true;
      unsent_ = encode_frame(next->SerializeAsString());
      sent_ = next->sequence();
    }
    const ssize_t n = ::send(connection_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (n <= 0) return false;
    unsent_.erase(0, static_cast<size_t>(n));
  }
}

// The newest daemon counts: an older one is gone, or will be told so by the scheduler.
void ControlSocket::accept_daemon() {
  connection_ = FileDescriptor(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  decoder_ = FrameDecoder();
  unsent_.clear();
  const std::lock_guard<std::mutex> lock(mutex_);
  sent_ = 0;
}

// False: the connection is gone, or what comes over it is not the protocol.
bool ControlSocket::read_commands() {
  char buffer[1 << 14];
  const ssize_t n = ::recv(connection_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
  if (n < 0) return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK;
  if (n == 0) return false;
  decoder_.append({buffer, static_cast<size_t>(n)});
  while (true) {
    const absl::StatusOr<std::optional<std::string>> frame = decoder_.next();
    if (!frame.ok()) return false;
    if (!frame->has_value()) return true;
    v1::TrainerCommand command;
    if (!command.ParseFromString(**frame)) return false;
    handle(command);
  }
}

bool ControlSocket::ending() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ending_;
}

void ControlSocket::serve() {
  constexpr int kLongestWait = 200;  // milliseconds
  while (!ending()) {
    const auto wanted = static_cast<int16_t>(unsent_.empty() ? POLLIN : POLLIN | POLLOUT);
    pollfd fds[3] = {{listener_.get(), POLLIN, 0}, {wake_read_.get(), POLLIN, 0}, {connection_.get(), wanted, 0}};
    if (::poll(fds, connection_.valid() ? 3 : 2, kLongestWait) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if ((fds[0].revents & POLLIN) != 0) {
      accept_daemon();
    } else if (connection_.valid() && (fds[2].revents & ~POLLOUT) != 0 && !read_commands()) {
      connection_.reset();
    }
    if ((fds[1].revents & POLLIN) != 0) {
      char drained[256];
      [[maybe_unused]] const ssize_t n = ::read(wake_read_.get(), drained, sizeof(drained));
    }
    if (connection_.valid() && !write_pending()) connection_.reset();
  }
}

void ControlSocket::handle(const v1::TrainerCommand& command) {
  const std::lock_guard<std::mutex> lock(mutex_);
  switch (command.command_case()) {
    case v1::TrainerCommand::kAcknowledge:
      while (!unacknowledged_.empty() && unacknowledged_.front().sequence() <= command.acknowledge().sequence())
        unacknowledged_.pop_front();
      break;
    case v1::TrainerCommand::kLease:
      lease_.renew(absl::Milliseconds(command.lease().milliseconds()));
      break;
    case v1::TrainerCommand::kRendezvous:
      payloads_.emplace(command.rendezvous().payloads().begin(), command.rendezvous().payloads().end());
      break;
    case v1::TrainerCommand::kCheckpointDecision:
      decisions_[command.checkpoint_decision().step()] = command.checkpoint_decision();
      break;
    case v1::TrainerCommand::kStop:
      stop_ = command.stop().reason().empty() ? "asked to stop" : command.stop().reason();
      break;
    case v1::TrainerCommand::COMMAND_NOT_SET:
      break;
  }
  changed_.notify_all();
}

absl::StatusOr<std::vector<std::string>> ControlSocket::exchange(int rank, int ranks, const std::string& payload,
                                                                 absl::Duration timeout) {
  v1::TrainerEvent event;
  event.mutable_rendezvous_offer()->set_rank(rank);
  event.mutable_rendezvous_offer()->set_payload(payload);
  send(std::move(event));
  std::unique_lock<std::mutex> lock(mutex_);
  if (!changed_.wait_for(lock, absl::ToChronoMilliseconds(timeout),
                         [&] { return payloads_.has_value() || stop_.has_value(); })) {
    return absl::UnavailableError(
        absl::StrCat("the ", ranks, " ranks did not meet within ", absl::FormatDuration(timeout)));
  }
  if (!payloads_.has_value())
    return absl::AbortedError(absl::StrCat("stopped while waiting for the other ranks: ", *stop_));
  if (payloads_->size() != static_cast<size_t>(ranks))
    return absl::InternalError(
        absl::StrCat("the rendezvous has ", payloads_->size(), " payloads for ", ranks, " ranks"));
  return *payloads_;
}

absl::Status ControlSocket::wait_for_decision(int64_t step, const std::string& folder) {
  v1::TrainerEvent event;
  event.mutable_checkpoint_ready()->set_step(step);
  event.mutable_checkpoint_ready()->set_folder(folder);
  send(std::move(event));
  // The lease bounds this wait.
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return decisions_.contains(step); });
  const v1::CheckpointDecision& decision = decisions_[step];
  if (decision.approved()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("the scheduler did not accept it: ", decision.reason()));
}

std::optional<std::string> ControlSocket::stop_requested() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stop_.has_value()) return stop_;
  // While the folder is certainly its own: the next attempt goes on from what is written now.
  const absl::Duration left = lease_.left();
  if (left > std::min(kTimeToSave, lease_.longest() / 4)) return std::nullopt;
  return absl::StrCat("the scheduler was not heard for so long that the lease ends in ",
                      absl::FormatDuration(absl::Trunc(left, absl::Seconds(1))));
}

bool ControlSocket::drain(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_until(lock, absl::ToChronoTime(deadline), [&] { return unacknowledged_.empty(); });
}

}  // namespace galleon
