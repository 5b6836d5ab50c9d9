// The trainer's end of the protocol with its daemon: keeps events until they are acknowledged, takes commands, and lets
// a timer of its own end the process when the lease is over.
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
#include "common/base/frame.h"
#include "galleon/v1/trainer.pb.h"
#include "worker/engine/ranks/rendezvous.h"
#include "worker/trainer/events.h"
#include "worker/trainer/lease_timer.h"

namespace galleon {

class ControlSocket final : public EventSink, public Rendezvous {
 public:
  // `listener`: a Unix socket that the daemon connects to. `hello` is the first event. The process ends with
  // LeaseTimer::kExitCode when the lease runs out.
  static absl::StatusOr<std::unique_ptr<ControlSocket>> start(FileDescriptor listener, const v1::Hello& hello,
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

 private:
  ControlSocket(FileDescriptor listener, absl::Duration initial_lease);
  void serve();
  void accept_daemon();
  bool read_commands();
  void handle(const v1::TrainerCommand& command);
  bool write_pending();
  bool ending();

  FileDescriptor listener_;
  FileDescriptor wake_read_;
  FileDescriptor wake_write_;
  // Of the thread that serves: the newest daemon, what has come from it, and what of a frame is still to be sent.
  FileDescriptor connection_;
  FrameDecoder decoder_;
  std::string unsent_;
  LeaseTimer lease_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::TrainerEvent> unacknowledged_;
  uint64_t sequence_ = 0;
  uint64_t sent_ = 0;  // on the present connection
  std::optional<std::vector<std::string>> payloads_;
  std::map<uint64_t, v1::CheckpointDecision> decisions_;
  std::optional<std::string> stop_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace galleon
