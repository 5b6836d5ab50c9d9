#include "server/api/job_folders.h"

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"

namespace galleon::server {

namespace {

constexpr absl::Duration kPatienceAtTheEnd = absl::Seconds(1);

// The number at the end of a job's id; 0 for what is none.
uint64_t number_of(const std::string& id) {
  uint64_t number = 0;
  const size_t dash = id.rfind('-');
  if (dash == std::string::npos || !absl::SimpleAtoi(id.substr(dash + 1), &number)) return 0;
  return number;
}

// Ids of jobs whose folders below `root` hold files.
std::set<std::string> ids_with_files(const std::string& root, uint64_t next_number) {
  std::set<std::string> ids;
  std::error_code error;
  for (std::filesystem::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    const std::string id = it->path().filename().string();
    std::error_code ignored;
    if (number_of(id) >= next_number && !std::filesystem::is_empty(it->path(), ignored)) ids.insert(id);
  }
  return ids;
}

}  // namespace

struct JobFolders::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> tasks;
  std::set<std::string> taken;
  bool stopping = false;
  bool ended = false;
};

JobFolders::JobFolders(std::string root, MakeFolder make)
    : root_(std::move(root)), make_(std::move(make)), shared_(std::make_shared<Shared>()) {
  std::thread([shared = shared_] { run(shared); }).detach();
}

JobFolders::~JobFolders() {
  std::unique_lock<std::mutex> lock(shared_->mutex);
  shared_->stopping = true;
  shared_->changed.notify_all();
  const auto ended = [this] { return shared_->ended; };
  if (!shared_->changed.wait_for(lock, absl::ToChronoNanoseconds(kPatienceAtTheEnd), ended))
    log_warning("the file system of ", root_, " does not answer; what was asked of it is given up");
}

void JobFolders::run(const std::shared_ptr<Shared>& shared) {
  std::unique_lock<std::mutex> lock(shared->mutex);
  while (true) {
    shared->changed.wait(lock, [&shared] { return shared->stopping || !shared->tasks.empty(); });
    if (shared->stopping) break;
    const std::function<void()> task = std::move(shared->tasks.front());
    shared->tasks.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
  shared->tasks.clear();
  shared->ended = true;
  shared->changed.notify_all();
}

void JobFolders::post(std::function<void()> task) {
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->tasks.push_back(std::move(task));
  }
  shared_->changed.notify_all();
}

absl::Status JobFolders::open(uint64_t next_number, absl::Duration patience) {
  // The thread may come to it after this call has been given up.
  const auto made = std::make_shared<std::optional<absl::Status>>();
  post([made, next_number, root = root_, make = make_, shared = shared_] {
    const absl::Status status = make(root);
    std::set<std::string> taken;
    if (status.ok()) taken = ids_with_files(root, next_number);
    const std::lock_guard<std::mutex> lock(shared->mutex);
    shared->taken = std::move(taken);
    *made = status;
    shared->changed.notify_all();
  });
  std::unique_lock<std::mutex> lock(shared_->mutex);
  const auto answered = [&made] { return made->has_value(); };
  if (shared_->changed.wait_for(lock, absl::ToChronoNanoseconds(patience), answered)) return **made;
  log_warning("the file system of ", root_, " has not answered within ", absl::FormatDuration(patience),
              "; jobs start once it does");
  return absl::OkStatus();
}

void JobFolders::make(std::string folder, std::function<void(const absl::Status& made)> done) {
  perform([folder = std::move(folder), make = make_] { return make(folder); }, std::move(done));
}

void JobFolders::perform(std::function<absl::Status()> work, std::function<void(const absl::Status& done)> done) {
  post([work = std::move(work), done = std::move(done), shared = shared_] {
    const absl::Status status = work();
    // Under the lock, so that whom it calls lives: the destructor waits for it.
    const std::lock_guard<std::mutex> lock(shared->mutex);
    if (!shared->stopping) done(status);
  });
}

uint64_t JobFolders::free_number(absl::string_view job_name, uint64_t number) const {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  while (shared_->taken.contains(absl::StrCat(job_name, "-", number))) ++number;
  return number;
}

}  // namespace galleon::server
