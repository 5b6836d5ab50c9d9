// What trainer and daemon say to each other, delivered although either may be away for a while: whatever a lost
// connection may have swallowed is said again, and both take it twice without harm.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "galleon/v1/trainer.pb.h"
#include "worker/daemon/trainer_link.h"

namespace galleon {

class TrainerDelivery {
 public:
  // `socket`: where the trainer listens. `processed`: the last event, by sequence, that a daemon before us took in.
  TrainerDelivery(std::string socket, uint64_t processed)
      : socket_(std::move(socket)), processed_(processed), acknowledged_(processed) {}

  // Connects if it is time, and writes what the socket takes.
  void tick(absl::Duration now);
  // Events not seen before, in order. Their effect must be kept before acknowledge().
  std::vector<v1::TrainerEvent> receive();
  void acknowledge();
  // The last event that the trainer need not say again. A checkpoint that waits for its decision is not among them: a
  // daemon after us must hear of it again.
  uint64_t kept() const { return checkpoint_ ? checkpoint_->sequence() - 1 : processed_; }
  void close() { link_.close(); }

  void grant_lease(absl::Duration lease_end, absl::Duration now);
  void meet(const google::protobuf::RepeatedPtrField<std::string>& payloads);
  void stop(const std::string& reason, absl::Duration grace);
  bool stopping() const { return stop_.has_value(); }
  // A checkpoint that waits for the scheduler's permission, given out once until decided or released for another try.
  std::optional<v1::CheckpointReady> take_checkpoint();
  void retry_checkpoint() { checkpoint_taken_ = false; }
  // False: no such checkpoint waits.
  bool decide(uint64_t step, bool approved, const std::string& reason);

  int fd() const { return link_.fd(); }
  bool wants_to_write() const { return link_.wants_to_write(); }

 private:
  void greet(absl::Duration now);

  const std::string socket_;
  TrainerLink link_;
  uint64_t processed_;     // events, by sequence
  uint64_t acknowledged_;  // the last one that the trainer was told we have
  std::optional<v1::TrainerEvent> checkpoint_;
  bool checkpoint_taken_ = false;
  std::optional<v1::CheckpointDecision> decision_;
  std::optional<v1::StopRequest> stop_;
  std::optional<v1::RendezvousComplete> rendezvous_;
  std::optional<absl::Duration> lease_end_;
  absl::Duration next_connect_ = absl::ZeroDuration();
};

}  // namespace galleon
