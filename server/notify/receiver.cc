#include "server/notify/receiver.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace galleon::server {

Receiver::Receiver(ReceiverConfig config, Options options)
    : config_(std::move(config)),
      options_(std::move(options)),
      webhook_(config_, &stopping_),
      thread_([this] { run(); }) {}

void Receiver::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

Receiver::~Receiver() {
  stop();
  thread_.join();
}

void Receiver::add(std::vector<Notification> notifications) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::move(notifications.begin(), notifications.end(), std::back_inserter(box_));
  }
  changed_.notify_all();
}

size_t Receiver::waiting() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return box_.size();
}

absl::Duration Receiver::behind(absl::Time now) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (box_.empty()) return absl::ZeroDuration();
  return std::max(absl::ZeroDuration(), now - absl::FromUnixMillis(box_.front().time_ms));
}

Receiver::Position Receiver::position() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return position_;
}

bool Receiver::pause(absl::Duration time) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoMilliseconds(time), [this] { return stopping_.load(); });
  return !stopping_;
}

bool Receiver::send(const Notification& notification) {
  const absl::Duration begun = options_.clock->monotonic();
  absl::Duration wait = options_.first_pause;
  for (int tries = 1;; ++tries) {
    const absl::Status status = webhook_.post(notification, options_.clock->now());
    if (stopping_) return false;
    if (status.ok()) {
      options_.counted(SendResult::kSent);
      if (tries > 1) log_info("receiver ", config_.name, " takes notifications again");
      return true;
    }
    options_.counted(SendResult::kFailed);
    const std::string why(status.message());
    if (options_.clock->monotonic() - begun >= options_.patience) {
      options_.counted(SendResult::kGivenUp);
      log_error("receiver ", config_.name, ": ", notification.id, " is given up after ", tries, " calls: ", why);
      return true;
    }
    if (tries == 1) log_warning("receiver ", config_.name, " took no notification, it is tried again and again: ", why);
    if (!pause(wait)) return false;
    wait = std::min(2 * wait, options_.longest_pause);
  }
}

void Receiver::run() {
  while (true) {
    Notification next;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !box_.empty(); });
      if (stopping_) return;
      next = box_.front();
    }
    if (!send(next)) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    position_ = {next.revision, next.number};
    box_.pop_front();
  }
}

}  // namespace galleon::server
