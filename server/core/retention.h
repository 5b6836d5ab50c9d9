// How fast ended jobs may leave the list, whatever a calendar clock says, and which of them nobody may take.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "server/core/state.h"

namespace galleon::server {

// Never more than a day's worth of ended jobs leaves in a day. The time between the ends of two jobs is what the second
// costs, a day at most; what passes on the clock that never jumps is what can be spent, a day at most too.
class ForgettingPace {
 public:
  // Whether a job that ended at `end_ms` may leave now; then it is charged. Ask in the order of the ends.
  bool allows(int64_t end_ms, int64_t mono_ms);
  void start(int64_t mono_ms) { counted_ms_ = mono_ms; }

 private:
  int64_t counted_ms_ = 0;  // monotonic: up to here time has been saved
  int64_t saved_ms_ = 0;
  std::optional<int64_t> newest_end_ms_;  // of those that have left
};

// What is kept of the jobs of one queue, as it has been looked at in this process.
struct KeptQueue {
  ForgettingPace pace;
  int64_t age_ms = -1;
  // What ended before was too old already when its age was first asked for; only that has to be paced, as what ended
  // later grows old no faster than time passes.
  int64_t backlog_ms = 0;
};

// Jobs that others which have not ended need: those that they come after, and, with `folders`, those from whose folders
// below `jobs_folder` they read.
std::set<std::string> needed_jobs(const State& state, bool folders, const std::string& jobs_folder);

}  // namespace galleon::server
