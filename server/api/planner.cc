#include "server/api/planner.h"

#include <signal.h>

#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace galleon::server {

namespace {

constexpr int kAtOnce = 4;
constexpr int kAtOnceByCaller = kAtOnce - 1;
constexpr size_t kLongestQueue = 256;
constexpr size_t kLongestQueueOfCaller = 64;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kMostMemory = 0;  // their shadows take terabytes of addresses
#else
constexpr uint64_t kMostMemory = uint64_t{4} << 30;
#endif
constexpr size_t kKnownPlans = 1000;
constexpr uint64_t kErrorTail = 4096;

std::string last_line(absl::string_view text) {
  text = absl::StripTrailingAsciiWhitespace(text);
  const size_t newline = text.rfind('\n');
  return std::string(newline == absl::string_view::npos ? text : text.substr(newline + 1));
}

absl::Status ended_by(int signal, absl::Duration most_time) {
  // More memory than its share is std::bad_alloc, more of the processor is SIGXCPU; SIGKILL is somebody else's.
  if (signal == SIGABRT || signal == SIGXCPU) {
    return absl::InvalidArgumentError(absl::StrCat("the job needs more to be planned than ", kMostMemory >> 30,
                                                   " GiB of memory and ", absl::FormatDuration(most_time),
                                                   " of a processor (signal ", signal, ")"));
  }
  return absl::InternalError(absl::StrCat("the planner was ended by signal ", signal));
}

// Removes the files of one planning when it is over.
struct Files {
  std::string base;
  ~Files() {
    std::error_code ignored;
    for (const char* suffix : {".job", ".out", ".err"}) std::filesystem::remove(base + suffix, ignored);
  }
};

}  // namespace

Planner::Planner(std::string program, std::string folder, absl::Duration timeout)
    : program_(std::move(program)), folder_(std::move(folder)), timeout_(timeout) {
  for (int i = 0; i < kAtOnce; ++i) threads_.emplace_back([this] { run(); });
}

Planner::~Planner() {
  shut_down();
}

void Planner::shut_down() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  for (auto& [name, caller] : std::exchange(callers_, {})) {
    for (Request& request : caller.waiting)
      request.done(absl::UnavailableError("the scheduler shuts down; submit again"));
  }
}

// Everything of a job that a plan may depend on, always in the same bytes. What only changes numbers, and not how many
// there are, is left out: jobs of a sweep mostly differ in that.
std::string Planner::key(const v1::Job& job) {
  v1::Job relevant = job;
  relevant.clear_name();
  relevant.clear_scheduling();
  relevant.clear_labels();
  relevant.clear_note();
  relevant.clear_sweep();
  if (relevant.has_optimizer()) relevant.mutable_optimizer()->clear_learning_rate();
  if (relevant.has_model()) relevant.mutable_model()->clear_seed();
  if (relevant.has_data()) relevant.mutable_data()->clear_seed();
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  relevant.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

std::optional<v1::MemoryPlan> Planner::known(const v1::Job& job) {
  const std::string key = Planner::key(job);
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = known_.find(key);
  return it == known_.end() ? std::nullopt : std::optional(it->second);
}

void Planner::plan(const v1::Job& job, const std::string& caller, Done done) {
  Request request{caller, key(job), job, std::move(done)};
  std::unique_lock<std::mutex> lock(mutex_);
  if (const auto it = known_.find(request.key); it != known_.end()) {
    const v1::MemoryPlan plan = it->second;
    lock.unlock();
    return request.done(plan);
  }
  const auto mine = callers_.find(caller);
  const bool too_many_of_caller = mine != callers_.end() && mine->second.waiting.size() >= kLongestQueueOfCaller;
  if (stopping_ || too_many_of_caller || waiting_ >= kLongestQueue) {
    const bool stopping = stopping_;
    lock.unlock();
    if (stopping) return request.done(absl::UnavailableError("the scheduler shuts down; submit again"));
    return request.done(absl::ResourceExhaustedError(
        too_many_of_caller
            ? absl::StrCat(kLongestQueueOfCaller, " jobs of yours wait for their memory plan; submit again later")
            : absl::StrCat(kLongestQueue, " jobs wait for their memory plan; submit again later")));
  }
  Caller& asking = callers_[caller];
  if (asking.waiting.empty()) turns_.push_back(caller);
  asking.waiting.push_back(std::move(request));
  ++waiting_;
  arrived_.notify_one();
}

std::optional<Planner::Request> Planner::take() {
  for (size_t left = turns_.size(); left > 0; --left) {
    std::string name = std::move(turns_.front());
    turns_.pop_front();
    Caller& caller = callers_[name];
    if (caller.running >= kAtOnceByCaller) {
      turns_.push_back(std::move(name));
      continue;
    }
    Request request = std::move(caller.waiting.front());
    caller.waiting.pop_front();
    --waiting_;
    ++caller.running;
    if (!caller.waiting.empty()) turns_.push_back(std::move(name));
    return request;
  }
  return std::nullopt;
}

void Planner::finished(const std::string& caller) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto entry = callers_.find(caller);
  if (entry == callers_.end()) return;  // shut down
  if (--entry->second.running == 0 && entry->second.waiting.empty()) callers_.erase(entry);
  arrived_.notify_all();
}

void Planner::run() {
  while (true) {
    std::unique_lock<std::mutex> lock(mutex_);
    std::optional<Request> taken;
    arrived_.wait(lock, [&] { return stopping_ || (taken = take()).has_value(); });
    if (!taken.has_value()) return;
    const Request& request = *taken;
    absl::StatusOr<v1::MemoryPlan> plan = absl::UnknownError("");
    if (const auto it = known_.find(request.key); it != known_.end()) {
      plan = it->second;
      lock.unlock();
    } else {
      lock.unlock();
      plan = compute(request);
    }
    if (plan.ok()) {
      const std::lock_guard<std::mutex> again(mutex_);
      if (known_.emplace(request.key, *plan).second) known_order_.push_back(request.key);
      if (known_order_.size() > kKnownPlans) {
        known_.erase(known_order_.front());
        known_order_.pop_front();
      }
    }
    finished(request.caller);
    request.done(std::move(plan));
  }
}

absl::StatusOr<v1::MemoryPlan> Planner::compute(const Request& request) {
  RETURN_IF_ERROR(make_folders(folder_));
  const Files files{absl::StrCat(folder_, "/plan-", random_hex(8))};
  RETURN_IF_ERROR(write_file_atomically(files.base + ".job", request.job.SerializeAsString()));
  ProcessOptions options;
  options.command = {program_, "--plan", "--job", files.base + ".job", "--format", "binary"};
  options.stdout_path = files.base + ".out";
  options.stderr_path = files.base + ".err";
  options.die_with_parent = true;
  options.most_memory = kMostMemory;
  options.most_cpu_seconds = static_cast<uint64_t>(absl::ToInt64Seconds(timeout_)) + 1;
  absl::StatusOr<ProcessId> process = start_process(options);
  if (!process.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("jobs cannot be planned: ", std::string(process.status().message()),
                     "; start the scheduler with --planner PATH of galleon-trainer"));
  }
  const absl::Time deadline = absl::Now() + timeout_;
  while (true) {
    ASSIGN_OR_RETURN(std::optional<ProcessExit> exit, wait_process(process->pid, absl::Milliseconds(100)));
    if (exit.has_value()) {
      const std::string error = last_line(read_file_tail(files.base + ".err", kErrorTail).value_or(""));
      if (exit->signal != 0) return ended_by(exit->signal, timeout_);
      if (exit->code != 0) {
        return absl::InvalidArgumentError(error.empty() ? absl::StrCat("the planner ended with code ", exit->code)
                                                        : error);
      }
      break;
    }
    bool stopping = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping = stopping_;
    }
    if (!stopping && absl::Now() < deadline) continue;
    signal_process_group(*process, SIGKILL);
    (void)wait_process(process->pid, absl::Seconds(5));
    if (stopping) return absl::UnavailableError("the scheduler shuts down; submit again");
    return absl::DeadlineExceededError(
        absl::StrCat("the job could not be planned within ", absl::FormatDuration(timeout_)));
  }
  ASSIGN_OR_RETURN(std::string output, read_file(files.base + ".out"));
  v1::MemoryPlan plan;
  const uint32_t ranks = std::max<uint32_t>(1, request.job.parallel().ranks());
  if (!plan.ParseFromString(output) || plan.ranks_size() != static_cast<int>(ranks)) {
    return absl::InternalError(
        absl::StrCat(program_, " answered with something that is not a plan of ", ranks, " ranks"));
  }
  return plan;
}

}  // namespace galleon::server
