// Threads for what is only read out, beside the one that decides and behind it where processors are few. Callers take
// turns.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/core/packed_job.h"

namespace galleon::server {

class Readers {
 public:
  using Task = std::function<void(JobUnpacker&)>;

  explicit Readers(int threads);
  // Runs what was posted before, then ends.
  ~Readers();
  Readers(const Readers&) = delete;
  Readers& operator=(const Readers&) = delete;

  // How much a caller may have waiting is bounded by its open calls.
  void post(const std::string& caller, Task task);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::string, std::deque<Task>> by_caller_;
  std::deque<std::string> turns_;  // callers of whom something waits, each once
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace galleon::server
