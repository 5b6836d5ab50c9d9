// The loop of the daemon: one thread owns all state; calls run on lanes and come back through the inbox.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/disk_guard.h"
#include "common/net/http_endpoint.h"
#include "worker/daemon/daemon.h"
#include "worker/daemon/held_rank.h"
#include "worker/daemon/job_metrics.h"
#include "worker/daemon/model_reader.h"
#include "worker/daemon/place_probe.h"
#include "worker/daemon/rpc_lane.h"
#include "worker/daemon/scheduler_client.h"
#include "worker/daemon/slot_devices.h"

namespace galleon {

class DaemonLoop {
 public:
  explicit DaemonLoop(const DaemonOptions& options);
  absl::Status prepare();
  absl::Status run();

 private:
  absl::Status lock_data_folder();
  absl::Status prepare_confinement();
  absl::Status load_incarnation();
  void recover_ranks();
  absl::Status find_devices();
  v1::Worker describe_worker();
  std::vector<v1::DeviceInfo> describe_devices() const;
  // Asks the driver again, and takes note of devices that failed under their ranks.
  void watch_devices();

  // Looks again at whether ranks can run here, beside the loop.
  void probe();
  void remember_failed(const HeldRank& rank);

  void wait_for_events();
  void check_lease();
  void tick_ranks();
  void talk_to_scheduler();
  void start_register();
  void finish_register(absl::Duration sent, const absl::StatusOr<v1::RegisterWorkerResponse>& response);
  void start_sync();
  void finish_sync(absl::Duration sent, const absl::StatusOr<v1::SyncWorkerResponse>& response);
  void apply(const v1::SyncWorkerResponse& response);
  void publish_checkpoints();
  void ship_logs();
  void forget_done();
  void begin_leaving();
  void stop_own();
  void end_all(const std::string& reason);
  uint64_t all_changes() const;
  bool left();
  void back_off();
  void become_ready();

  DaemonOptions options_;
  SystemClock clock_;
  FileDescriptor lock_;
  std::string incarnation_;
  v1::ProcessorInfo processor_;
  RankOptions rank_options_;
  DiskGuard jobs_disk_{options_.keep_free};
  std::map<std::string, std::unique_ptr<HeldRank>> ranks_;
  SlotDevices devices_;
  std::vector<v1::DeviceInfo> told_devices_;  // as the scheduler knows them
  absl::Duration next_look_ = absl::ZeroDuration();
  std::shared_ptr<JobMetrics> metrics_;
  std::unique_ptr<HttpEndpoint> endpoint_;
  Inbox inbox_;
  SchedulerClient client_;

  absl::Status fatal_;
  std::atomic<bool> registered_ = false;
  bool ready_written_ = false;
  bool calling_ = false;  // a register or sync is on its lane
  bool sync_cancelled_ = false;
  bool urgent_ = false;          // something that the scheduler should hear of before the long poll ends
  bool scheduler_lost_ = false;  // said once
  uint64_t sent_changes_ = 0;
  std::map<std::string, uint64_t> shown_changes_;  // in the metrics, by rank's key
  uint64_t session_ = 0;                           // of the registration
  uint64_t sequence_ = 0;
  uint64_t revision_ = 0;
  uint64_t sync_milliseconds_ = 1000;
  absl::Duration call_started_ = absl::ZeroDuration();
  absl::Duration next_call_ = absl::ZeroDuration();
  absl::Duration backoff_ = absl::ZeroDuration();
  std::optional<absl::Duration> lease_end_;
  absl::Duration lease_ = absl::ZeroDuration();          // what the newest answer gave
  std::map<std::string, absl::Duration> publish_after_;  // by rank's key
  std::optional<v1::WorkerProbe> probe_;                 // the newest
  bool probing_ = false;
  absl::Duration next_probe_ = absl::ZeroDuration();
  std::map<std::string, FailedJob> failed_jobs_;  // by job id; the newest few
  std::deque<std::string> failed_order_;
  bool logs_in_flight_ = false;
  absl::Duration next_logs_ = absl::ZeroDuration();
  std::string last_log_key_;
  bool leaving_ = false;
  bool leaving_heard_ = false;                 // a sync with `leaving` was answered
  std::optional<absl::Duration> stop_own_at_;  // at the latest: our ranks are asked to stop
  bool leaving_told_ = false;                  // a sync with `leaving` was answered, and it listed nothing
  std::optional<absl::Duration> give_up_leaving_;

  // Last, so that they end before what their calls use.
  RpcLane sync_lane_;
  RpcLane publish_lane_;
  RpcLane log_lane_;
  RpcLane probe_lane_;
  ModelReader model_reader_{options_.data + "/models", inbox_};
};

}  // namespace galleon
