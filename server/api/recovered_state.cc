#include "server/api/recovered_state.h"

namespace galleon::server {

namespace {

constexpr uint64_t kPackedAfter = 1'000;  // events

}  // namespace

Journal::Recovery RecoveredState::recovery() {
  return {
      [this](const v1::StateSnapshot& head) { state_->restore_head(head); },
      [this](absl::string_view body) { return state_->restore_job(body); },
      [this](const v1::JournalEvent& event) {
        state_->apply(event);
        if (++replayed_ % kPackedAfter == 0) state_->pack();
      },
      [this] { state_ = std::make_unique<State>(); },
      [this] { state_->mark_saved(); },
  };
}

}  // namespace galleon::server
