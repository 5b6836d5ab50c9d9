// What a daemon reports of one rank: the newest of what its trainer said, and in the end how it ended.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "common/base/process.h"
#include "galleon/v1/workers.pb.h"

namespace galleon {

class KeptReport {
 public:
  KeptReport(const v1::AttemptId& id, uint32_t rank);
  // As a daemon before us kept it. `sweep`: where its group wants to know its loss.
  explicit KeptReport(const v1::RankReport& report, v1::SweepMember sweep = {})
      : report_(report), sweep_(std::move(sweep)) {
    bound();
  }

  const v1::RankReport& report() const { return report_; }
  bool exited() const { return report_.phase() == v1::RankReport::EXITED; }
  bool launching() const { return report_.phase() == v1::RankReport::LAUNCHING; }
  // Counts changes that are worth telling.
  uint64_t changes() const { return changes_; }

  // True: the scheduler should hear of it now.
  bool take(const v1::TrainerEvent& event);
  void started();
  // It could not start. Permanent: it would not elsewhere or later either.
  void refused(const std::string& why, v1::PlaceFault place, uint64_t log_bytes);
  // Its end is the daemon's doing.
  void killed() { report_.set_signalled_by_daemon(true); }
  // The end of a rank whose process was never started.
  void killed_unstarted();
  // How its process ended.
  struct Ended {
    ProcessExit exit;
    bool written = false;  // its supervisor wrote how: a daemon's signal would have ended it before it could
    bool out_of_memory = false;
    std::string last_lines;  // of its log
    uint64_t log_bytes = 0;
  };
  void ended(const Ended& end);
  void set_log_bytes(uint64_t bytes) { report_.set_log_bytes(bytes); }
  // Several changes at once, such as those of events that came together.
  void changed() { ++changes_; }

 private:
  bool keep(const v1::TrainerEvent& event);
  // True: a rung of its group has been reached.
  bool reach(uint64_t step, double loss);
  void device_failed();
  // A report that is too large for a call would end the worker with it.
  void bound();

  v1::RankReport report_;
  v1::SweepMember sweep_;
  uint64_t changes_ = 1;
};

}  // namespace galleon
