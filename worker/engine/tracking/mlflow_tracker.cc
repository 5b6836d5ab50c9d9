#include "worker/engine/tracking/mlflow_tracker.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

// Of one call: a step has some two dozen metrics.
constexpr size_t kMostLines = 40;
// What servers before 2.8 take of a parameter's value, and of all versions of a name.
constexpr size_t kLongestValue = 500;
constexpr char kKeyTag[] = "galleon.key";
constexpr char kRunning[] = "RUNNING";

const char* word_of(RunEnd end) {
  return end == RunEnd::kFinished ? "FINISHED" : end == RunEnd::kFailed ? "FAILED" : "KILLED";
}

bool worth_another_try(const absl::Status& status) {
  return absl::IsUnavailable(status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MlflowTracker>> MlflowTracker::start(const MlflowAccess& access, const MlflowRun& run,
                                                                    const WallClock& clock, const MlflowPace& pace) {
  std::unique_ptr<MlflowTracker> tracker(new MlflowTracker(access, run, clock, pace));
  const absl::StatusOr<TrackedRun> known = read_tracked_run(run.memory);
  if (!known.ok() && !absl::IsNotFound(known.status())) return known.status();
  const bool same = known.ok() && known->address == access.address && known->experiment == run.experiment &&
                    known->mathematics == run.mathematics && !known->key.empty();
  if (same) {
    tracker->remembered_ = *known;
    // Whether an attempt before got to ask is not known.
    tracker->asked_ = known->run_id.empty();
  } else {
    TrackedRun& fresh = tracker->remembered_;
    fresh.address = access.address;
    fresh.experiment = run.experiment;
    fresh.mathematics = run.mathematics;
    fresh.key = random_hex(16);
    RETURN_IF_ERROR(tracker->remember());
  }
  if (const std::string clear = access.in_clear(); !clear.empty()) tracker->note(clear);
  tracker->thread_ = std::thread([t = tracker.get()] { t->run(); });
  return tracker;
}

MlflowTracker::MlflowTracker(const MlflowAccess& access, const MlflowRun& run, const WallClock& clock,
                             const MlflowPace& pace)
    : address_(access.address),
      run_(run),
      pace_(pace),
      clock_(clock),
      start_ms_(absl::ToUnixMillis(clock())),
      server_(access, &stop_, pace.call_timeout),
      reader_(run.metrics, run.subspaces) {}

MlflowTracker::~MlflowTracker() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void MlflowTracker::more() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    more_ = true;
    idle_ = false;
  }
  changed_.notify_all();
}

std::vector<std::string> MlflowTracker::notes() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(notes_, {});
}

bool MlflowTracker::behind() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !idle_;
}

bool MlflowTracker::ending() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return end_.has_value();
}

void MlflowTracker::note(const std::string& text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  notes_.push_back(text);
}

std::string MlflowTracker::finish(RunEnd end, absl::Duration patience) {
  bool ended = false;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    end_ = end;
    end_ms_ = absl::ToUnixMillis(clock_());
    changed_.notify_all();
    ended = changed_.wait_for(lock, absl::ToChronoMilliseconds(patience), [this] { return ended_; });
    stop_ = true;
    changed_.notify_all();
  }
  thread_.join();
  const int64_t lines = unsent_lines();
  // With nothing new, what was told of the end before stands.
  const bool told = remembered_.status == word_of(end) ||
                    (!announced_ && failure_.ok() && remembered_.status == word_of(RunEnd::kFinished));
  if (lines == 0 && told) return "";
  const std::string what = lines == 0 ? absl::StrCat("how the run ended (", word_of(end), ")")
                                      : absl::StrCat(lines, lines == 1 ? " line" : " lines", " of metrics.jsonl");
  const std::string why = !failure_.ok() ? std::string(failure_.message())
                          : ended        ? std::string("it was not asked")
                                  : absl::StrCat(address_, " takes longer than ", absl::FormatDuration(patience));
  return absl::StrCat(what, lines == 1 || (lines == 0) ? " was" : " were", " not sent to MLflow: ", why,
                      "; it is sent where the run goes on");
}

int64_t MlflowTracker::unsent_lines() {
  MetricsReader all(run_.metrics, run_.subspaces);
  int64_t lines = 0;
  while (true) {
    const absl::StatusOr<std::vector<MetricsLine>> read = all.read(1024);
    if (!read.ok() || read->empty()) return lines;
    lines += std::count_if(read->begin(), read->end(),
                           [this](const MetricsLine& line) { return !remembered_.has(line.step, line.evaluation); });
  }
}

bool MlflowTracker::wait(absl::Duration pause, bool for_more) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (for_more) {
    changed_.wait(lock, [this] { return stop_.load() || more_ || end_.has_value(); });
  } else {
    // An end is waited for by others: no pause is longer than a moment then.
    const bool hurry = end_.has_value();
    const absl::Duration length = hurry ? std::min(pause, pace_.first_pause) : pause;
    changed_.wait_for(lock, absl::ToChronoMilliseconds(length),
                      [this, hurry] { return stop_.load() || (!hurry && end_.has_value()); });
  }
  return !stop_;
}

void MlflowTracker::tell_of(const absl::Status& failure) {
  failure_ = failure;
  if (failure.ok()) {
    if (told_) note(absl::StrCat(address_, " takes metrics again"));
    told_ = false;
    return;
  }
  if (told_) return;
  told_ = true;
  note(worth_another_try(failure)
           ? absl::StrCat("MLflow is told nothing for now, training goes on: ", failure.message())
           : absl::StrCat("MLflow is told nothing more, training goes on: ", failure.message()));
}

void MlflowTracker::run() {
  absl::Duration pause = pace_.first_pause;
  while (!stop_) {
    const absl::StatusOr<bool> advanced = advance();
    if (absl::IsCancelled(advanced.status())) break;
    tell_of(advanced.status());
    if (!advanced.ok()) {
      if (!worth_another_try(advanced.status())) break;
      if (!wait(std::max(pause, server_.asked_to_wait()), false)) break;
      pause = std::min(2 * pause, pace_.longest_pause);
      continue;
    }
    pause = pace_.first_pause;
    if (*advanced) continue;
    if (ending()) break;
    if (!wait(absl::InfiniteDuration(), true)) break;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

absl::StatusOr<bool> MlflowTracker::advance() {
  // Nothing has been trained since the server was told of the end: it is left alone.
  const bool ended_before = !announced_ && remembered_.status == word_of(RunEnd::kFinished) && unsent_lines() == 0;
  if (ended_before) {
    const std::lock_guard<std::mutex> lock(mutex_);
    more_ = false;
    idle_ = true;
    return false;
  }
  if (!announced_) return announce();
  ASSIGN_OR_RETURN(const bool sent, send_lines());
  if (sent) return true;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (more_) return true;
    idle_ = true;
    if (!end_.has_value()) return false;
  }
  return send_end();
}

absl::Status MlflowTracker::find_or_create() {
  MlflowPairs tags = run_.tags;
  tags.emplace_back(kKeyTag, remembered_.key);
  tags.emplace_back("mlflow.runName", run_.name);  // of servers before 2.0
  absl::StatusOr<std::string> id = absl::NotFoundError("");
  if (asked_) id = server_.find_run(remembered_.experiment_id, kKeyTag, remembered_.key);
  if (absl::IsNotFound(id.status())) {
    asked_ = true;
    id = server_.create_run(remembered_.experiment_id, run_.name, start_ms_, tags);
  }
  if (!id.ok()) return id.status();
  remembered_.run_id = *id;
  remembered_.status = kRunning;
  return remember();
}

absl::StatusOr<bool> MlflowTracker::announce() {
  if (remembered_.experiment_id.empty()) {
    ASSIGN_OR_RETURN(remembered_.experiment_id, server_.experiment(run_.experiment));
  }
  if (remembered_.run_id.empty()) {
    RETURN_IF_ERROR(find_or_create());
  } else {
    absl::Status updated = server_.update(remembered_.run_id, kRunning, 0);
    if (absl::IsNotFound(updated)) {
      note(absl::StrCat(address_, " does not know run ", remembered_.run_id, " any more; another one begins"));
      const TrackedRun lost = std::exchange(remembered_, TrackedRun());
      remembered_.address = lost.address;
      remembered_.experiment = lost.experiment;
      remembered_.mathematics = lost.mathematics;
      remembered_.key = random_hex(16);
      RETURN_IF_ERROR(remember());
      return true;
    }
    RETURN_IF_ERROR(updated);
    remembered_.status = kRunning;
    RETURN_IF_ERROR(server_.log(remembered_.run_id, {}, {}, run_.tags));
  }
  if (!remembered_.parameters_sent) {
    for (size_t begin = 0; begin < run_.parameters.size(); begin += MlflowServer::kMostParameters) {
      const size_t end = std::min(begin + MlflowServer::kMostParameters, run_.parameters.size());
      MlflowPairs some(run_.parameters.begin() + static_cast<ptrdiff_t>(begin),
                       run_.parameters.begin() + static_cast<ptrdiff_t>(end));
      for (auto& [name, value] : some) value = value.substr(0, kLongestValue);
      RETURN_IF_ERROR(server_.log(remembered_.run_id, {}, some, {}));
    }
    remembered_.parameters_sent = true;
  }
  announced_ = true;
  RETURN_IF_ERROR(remember());
  note(absl::StrCat("run ", remembered_.run_id, " at ", address_, "/#/experiments/", remembered_.experiment_id,
                    "/runs/", remembered_.run_id));
  return true;
}

absl::StatusOr<bool> MlflowTracker::send_lines() {
  if (lines_.empty()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      more_ = false;
    }
    ASSIGN_OR_RETURN(lines_, reader_.read(kMostLines));
    if (lines_.empty()) return false;
  }
  const bool many = lines_.size() == kMostLines;
  std::vector<MlflowMetric> metrics;
  int64_t step = remembered_.step;
  int64_t evaluation = remembered_.evaluation;
  const int64_t now_ms = absl::ToUnixMillis(clock_());
  for (const MetricsLine& line : lines_) {
    // What was sent before is sent no more: a resumed run computes the same again.
    if (remembered_.has(line.step, line.evaluation)) continue;
    for (const auto& [name, value] : line.scalars)
      metrics.push_back({name, value, line.time_ms > 0 ? line.time_ms : now_ms, line.step});
    (line.evaluation ? evaluation : step) = line.step;
  }
  for (size_t begin = 0; begin < metrics.size(); begin += MlflowServer::kMostMetrics) {
    const size_t end = std::min(begin + MlflowServer::kMostMetrics, metrics.size());
    RETURN_IF_ERROR(server_.log(
        remembered_.run_id,
        {metrics.begin() + static_cast<ptrdiff_t>(begin), metrics.begin() + static_cast<ptrdiff_t>(end)}, {}, {}));
  }
  lines_.clear();
  remembered_.step = step;
  remembered_.evaluation = evaluation;
  if (!metrics.empty()) RETURN_IF_ERROR(remember());
  // Few lines at a time make many calls.
  if (!metrics.empty() && !many && !wait(pace_.between_calls, false)) return absl::CancelledError("stopped");
  return true;
}

absl::StatusOr<bool> MlflowTracker::send_end() {
  std::string word;
  int64_t end_ms = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    word = word_of(*end_);
    end_ms = end_ms_;
  }
  if (remembered_.status == word) return false;
  RETURN_IF_ERROR(server_.update(remembered_.run_id, word, end_ms));
  remembered_.status = word;
  RETURN_IF_ERROR(remember());
  return false;
}

absl::Status MlflowTracker::remember() {
  return write_tracked_run(run_.memory, remembered_);
}

}  // namespace galleon
