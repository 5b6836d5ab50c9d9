#include "server/api/readers.h"

#include <sys/resource.h>
#include <unistd.h>

namespace galleon::server {

namespace {

constexpr int kNice = 10;

}  // namespace

Readers::Readers(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

Readers::~Readers() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Readers::post(const std::string& caller, Task task) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::deque<Task>& own = by_caller_[caller];
    if (own.empty()) turns_.push_back(caller);
    own.push_back(std::move(task));
  }
  arrived_.notify_one();
}

void Readers::run() {
  // Of this thread alone, as Linux has it. Where it is refused they are as fast as the others.
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
  JobUnpacker unpacker;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    arrived_.wait(lock, [this] { return stopping_ || !turns_.empty(); });
    if (turns_.empty()) return;
    const std::string caller = std::move(turns_.front());
    turns_.pop_front();
    const auto own = by_caller_.find(caller);
    Task task = std::move(own->second.front());
    own->second.pop_front();
    if (own->second.empty()) {
      by_caller_.erase(own);
    } else {
      turns_.push_back(caller);
    }
    lock.unlock();
    task(unpacker);
    task = nullptr;
    lock.lock();
  }
}

}  // namespace galleon::server
