// Blocking calls beside a loop that must never block: a lane runs them one after another on a thread of its own, and
// their results come back through the loop's inbox.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "common/base/files.h"

namespace galleon {

// Functions for the loop to run, posted from any thread.
class Inbox {
 public:
  Inbox();
  void post(std::function<void()> task);
  // Readable while something waits.
  int fd() const { return event_.get(); }
  void run_all();

 private:
  FileDescriptor event_;
  std::mutex mutex_;
  std::vector<std::function<void()>> tasks_;
};

class RpcLane {
 public:
  RpcLane();
  // Waits for the running call; drops those that wait. Calls must have deadlines.
  ~RpcLane();
  void post(std::function<void()> call);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> calls_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace galleon
