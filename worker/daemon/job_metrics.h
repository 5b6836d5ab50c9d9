// The worker's Prometheus series, computed at each scrape from the newest reports.
#pragma once

#include <sys/types.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "galleon/v1/workers.pb.h"
#include "prometheus/collectable.h"
#include "worker/daemon/gpus.h"
#include "worker/daemon/process_group.h"

namespace galleon {

// Each rank that is held here has its own series of memory and place; rank 0 has those of the whole job as well. They
// live as long as the rank, and a little longer, so that the last values are seen: until the fourth scrape after the
// end, or for two and a half minutes, which is two scrapes of a minute, or one each of two Prometheis. What says where
// a rank is and what its processes hold ends with it. Thread-safe.
class JobMetrics final : public prometheus::Collectable {
 public:
  explicit JobMetrics(const Clock& clock) : clock_(clock) {}

  // A rank as it stands, and the group of its processes.
  void update(const v1::Assignment& assignment, const v1::RankReport& report, pid_t group);
  void set_slots(uint32_t total, uint32_t used);
  // What each slot offers that is a share of the processors.
  void set_slot_memory(uint64_t bytes);
  void set_processor(const v1::ProcessorInfo& processor);
  // By slot.
  void set_gpus(const std::vector<GpuState>& gpus);
  // When the lease ends, on the monotonic clock, and for how long the scheduler gave it.
  void set_lease(absl::Duration end, absl::Duration length);

  std::vector<prometheus::MetricFamily> Collect() const override;

  class Families;  // what a scrape gives

 private:
  using Labels = std::vector<std::pair<std::string, std::string>>;
  struct Series {
    v1::RankReport report;
    uint32_t slot = 0;
    pid_t group = 0;
    Labels info;                                  // of the job
    bool galore = false;                          // there are subspaces to tell of
    absl::Duration moved = absl::ZeroDuration();  // its newest step or stage was heard of
    bool ended = false;
    absl::Duration end = absl::ZeroDuration();
    int scrapes_after_end = 0;
  };

  void add_worker(Families& out, absl::Duration now) const;
  void add_rank(Families& out, const Series& series, const std::map<pid_t, GroupUse>& uses) const;
  std::set<pid_t> groups() const;
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
