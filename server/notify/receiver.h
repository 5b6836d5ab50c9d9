// One receiver: a thread that sends what is in its box, in order, each until it was taken.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "server/notify/notification.h"
#include "server/notify/webhook.h"

namespace galleon::server {

// What happened to one call, or to one notification.
enum class SendResult { kSent, kFailed, kGivenUp };

class Receiver {
 public:
  struct Options {
    const Clock* clock = nullptr;
    std::function<void(SendResult)> counted;  // from the thread
    absl::Duration first_pause = absl::Seconds(1);
    absl::Duration longest_pause = absl::Minutes(5);
    absl::Duration patience = absl::Hours(24);  // with one notification, before it is given up
  };
  Receiver(ReceiverConfig config, Options options);
  // Ends soon; the call in flight too.
  void stop();
  // Waits for that.
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  const ReceiverConfig& config() const { return config_; }
  void add(std::vector<Notification> notifications);
  size_t waiting() const;
  // How long ago what is sent next happened; zero: there is nothing.
  absl::Duration behind(absl::Time now) const;
  // The newest that was taken, or given up.
  struct Position {
    uint64_t revision = 0;
    uint64_t number = 0;
  };
  Position position() const;

 private:
  void run();
  // False: it is to end.
  bool send(const Notification& notification);
  bool pause(absl::Duration time);

  const ReceiverConfig config_;
  const Options options_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Notification> box_;
  Position position_;
  Webhook webhook_;
  std::thread thread_;
};

}  // namespace galleon::server
