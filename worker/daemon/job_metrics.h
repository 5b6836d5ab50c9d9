// The worker's Prometheus series, computed at each scrape from the newest reports.
#pragma once

#include <sys/types.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "galleon/v1/workers.pb.h"
#include "prometheus/collectable.h"
#include "worker/daemon/gpus.h"

namespace galleon {

// Series of jobs live as long as the job's rank 0 is held here, and a little longer: until the second scrape after the
// end, or for 15 seconds, so that the last values are seen. Thread-safe.
class JobMetrics final : public prometheus::Collectable {
 public:
  explicit JobMetrics(const Clock& clock) : clock_(clock) {}

  // Rank 0 as it stands, and the group of its processes; other ranks carry the same figures and are left out.
  void update(const v1::Assignment& assignment, const v1::RankReport& report, pid_t group);
  void set_slots(uint32_t total, uint32_t used);
  void set_slot_memory(uint64_t bytes);
  void set_processor(const v1::ProcessorInfo& processor);
  // By slot.
  void set_gpus(const std::vector<GpuState>& gpus);
  // When the lease ends, on the monotonic clock, and for how long the scheduler gave it.
  void set_lease(absl::Duration end, absl::Duration length);

  std::vector<prometheus::MetricFamily> Collect() const override;

  class Families;  // what a scrape gives

 private:
  struct Series {
    v1::RankReport report;
    std::string job_id;
    uint32_t attempt = 0;
    pid_t group = 0;
    std::vector<std::pair<std::string, std::string>> info;
    bool ended = false;
    absl::Duration end = absl::ZeroDuration();
    int scrapes_after_end = 0;
  };

  void add_worker(Families& out, absl::Duration now) const;
  // Its last values have been seen.
  static bool is_over(const Series& series, absl::Duration now);

  const Clock& clock_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Series> series_;
  uint32_t slots_ = 0;
  uint32_t slots_used_ = 0;
  uint64_t slot_memory_ = 0;
  v1::ProcessorInfo processor_;
  std::vector<GpuState> gpus_;
  absl::Duration lease_end_ = absl::ZeroDuration();
  absl::Duration lease_length_ = absl::ZeroDuration();
};

}  // namespace galleon
