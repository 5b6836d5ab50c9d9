#include "worker/daemon/trainer_delivery.h"

namespace galleon {

namespace {

constexpr absl::Duration kConnectInterval = absl::Milliseconds(50);

v1::TrainerCommand command_of(const v1::RendezvousComplete& rendezvous) {
  v1::TrainerCommand command;
  *command.mutable_rendezvous() = rendezvous;
  return command;
}

v1::TrainerCommand command_of(const v1::CheckpointDecision& decision) {
  v1::TrainerCommand command;
  *command.mutable_checkpoint_decision() = decision;
  return command;
}

v1::TrainerCommand command_of(const v1::StopRequest& stop) {
  v1::TrainerCommand command;
  *command.mutable_stop() = stop;
  return command;
}

}  // namespace

void TrainerDelivery::tick(absl::Duration now) {
  if (!link_.connected() && now >= next_connect_) {
    next_connect_ = now + kConnectInterval;
    if (link_.connect(socket_).ok()) greet(now);
  }
  link_.flush();
}

void TrainerDelivery::greet(absl::Duration now) {
  acknowledged_ = 0;
  acknowledge();
  if (lease_end_) grant_lease(*lease_end_, now);
  if (rendezvous_) link_.send(command_of(*rendezvous_));
  if (decision_) link_.send(command_of(*decision_));
  if (stop_) link_.send(command_of(*stop_));
}

std::vector<v1::TrainerEvent> TrainerDelivery::receive() {
  std::vector<v1::TrainerEvent> fresh;
  for (v1::TrainerEvent& event : link_.receive()) {
    if (event.sequence() <= processed_) continue;
    processed_ = event.sequence();
    if (event.has_checkpoint_ready()) {
      checkpoint_ = event;
      checkpoint_taken_ = false;
    }
    fresh.push_back(std::move(event));
  }
  return fresh;
}

void TrainerDelivery::acknowledge() {
  if (kept() <= acknowledged_) return;
  acknowledged_ = kept();
  v1::TrainerCommand command;
  command.mutable_acknowledge()->set_sequence(acknowledged_);
  link_.send(command);
}

void TrainerDelivery::grant_lease(absl::Duration lease_end, absl::Duration now) {
  lease_end_ = lease_end;
  const int64_t left = absl::ToInt64Milliseconds(lease_end - now);
  if (left <= 0) return;
  v1::TrainerCommand command;
  command.mutable_lease()->set_milliseconds(static_cast<uint64_t>(left));
  link_.send(command);
}

void TrainerDelivery::meet(const google::protobuf::RepeatedPtrField<std::string>& payloads) {
  rendezvous_.emplace();
  *rendezvous_->mutable_payloads() = payloads;
  link_.send(command_of(*rendezvous_));
}

void TrainerDelivery::stop(const std::string& reason, absl::Duration grace) {
  stop_.emplace();
  stop_->set_reason(reason);
  stop_->set_grace_milliseconds(static_cast<uint64_t>(absl::ToInt64Milliseconds(grace)));
  link_.send(command_of(*stop_));
}

std::optional<v1::CheckpointReady> TrainerDelivery::take_checkpoint() {
  if (!checkpoint_ || checkpoint_taken_) return std::nullopt;
  checkpoint_taken_ = true;
  return checkpoint_->checkpoint_ready();
}

bool TrainerDelivery::decide(uint64_t step, bool approved, const std::string& reason) {
  if (!checkpoint_ || checkpoint_->checkpoint_ready().step() != step) return false;
  checkpoint_.reset();
  checkpoint_taken_ = false;
  decision_.emplace();
  decision_->set_step(step);
  decision_->set_approved(approved);
  decision_->set_reason(reason);
  link_.send(command_of(*decision_));
  return true;
}

}  // namespace galleon
