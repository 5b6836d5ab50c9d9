// The state that a journal leads to, while it is read: at once when a scheduler starts, or bit by bit by one that
// stands by.
#pragma once

#include <cstdint>
#include <memory>

#include "server/core/state.h"
#include "server/store/journal.h"

namespace galleon::server {

class RecoveredState {
 public:
  RecoveredState() : state_(std::make_unique<State>()) {}
  RecoveredState(const RecoveredState&) = delete;
  RecoveredState& operator=(const RecoveredState&) = delete;

  // Reads into this; valid as long as it. After each use of it pack().
  Journal::Recovery recovery();
  // Jobs that have ended take little memory.
  void pack() { state_->pack(); }
  // Once.
  std::unique_ptr<State> take() { return std::move(state_); }

 private:
  std::unique_ptr<State> state_;
  uint64_t replayed_ = 0;
};

}  // namespace galleon::server
