// The trainer's end of the protocol with its daemon: listens on a Unix socket in the attempt's folder, keeps events
// until they are acknowledged, takes commands, and ends the process when its lease is over.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/files.h"
#include "galleon/v1/trainer.pb.h"
#include "worker/engine/ranks/rendezvous.h"
#include "worker/trainer/events.h"

namespace galleon {

class ControlSocket final : public EventSink, public Rendezvous {
 public:
  // `hello` is the first event. The process ends with kLeaseExitCode when the lease runs out.
  static absl::StatusOr<std::unique_ptr<ControlSocket>> start(const std::string& path, const v1::Hello& hello,
                                                              absl::Duration initial_lease);
  ~ControlSocket() override;

  void send(v1::TrainerEvent event) override;
  absl::StatusOr<std::vector<std::string>> exchange(int rank, int ranks, const std::string& payload,
                                                    absl::Duration timeout) override;
  // Waits for the daemon's word on a complete checkpoint. ABORTED: it must not be published.
  absl::Status wait_for_decision(int64_t step, const std::string& folder);
  std::optional<std::string> stop_requested();
  // Waits until every event has been acknowledged, or `timeout` has passed.
  bool drain(absl::Duration timeout);

  static constexpr int kLeaseExitCode = 75;

 private:
  explicit ControlSocket(int listener);
  void serve();
  void handle(const v1::TrainerCommand& command);
  bool write_pending(int fd);

  FileDescriptor listener_;
  FileDescriptor wake_read_;
  FileDescriptor wake_write_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::TrainerEvent> unacknowledged_;
  uint64_t sequence_ = 0;
  uint64_t sent_ = 0;  // on the present connection
  absl::Duration lease_end_;
  absl::Duration granted_;  // the longest that one was given for
  std::optional<std::vector<std::string>> payloads_;
  std::map<uint64_t, v1::CheckpointDecision> decisions_;
  std::optional<std::string> stop_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace galleon
