#include "server/core/group_standing.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/core/transitions.h"

namespace galleon::server {

uint64_t next_rung(const v1::Group& group) {
  for (const v1::GroupRung& rung : group.rungs()) {
    if (!rung.decided()) return rung.step();
  }
  return 0;
}

bool is_out(const v1::Group& group, const std::string& job_id) {
  for (const v1::GroupRung& rung : group.rungs()) {
    const auto first_out = rung.ranking().begin() + std::min<int>(static_cast<int>(rung.kept()), rung.ranking_size());
    if (rung.decided() && std::find(first_out, rung.ranking().end(), job_id) != rung.ranking().end()) return true;
  }
  return false;
}

const v1::RungLoss* loss_at(const v1::JobRecord& record, uint64_t rung) {
  for (const v1::RungLoss& loss : record.rungs()) {
    if (loss.rung() == rung) return &loss;
  }
  return nullptr;
}

double newest_loss(const v1::JobRecord& record, bool by_validation) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  if (by_validation) return record.has_evaluation() ? record.evaluation().validation_loss() : kNone;
  if (record.final_train_loss() != 0) return record.final_train_loss();
  return record.progress().step() > 0 ? record.progress().loss() : kNone;
}

Standing standing_at(const State& state, const v1::Group& group, uint64_t rung) {
  Standing standing;
  for (const uint64_t number : state.members(group.group_id())) {
    const v1::JobState& job = *state.job_by_number(number);
    const v1::JobRecord& record = job.record();
    if (is_out(group, record.job_id())) continue;
    const v1::RungLoss* reached = loss_at(record, rung);
    const bool ended = is_terminal(record.state());
    standing.alive |= !ended;
    standing.complete &= ended || reached != nullptr;
    Standing::Place place{&job, false, 0};
    place.loss = reached != nullptr ? reached->loss() : newest_loss(record, group.by_validation());
    place.worst = (ended && record.state() != v1::JobRecord::SUCCEEDED) || !std::isfinite(place.loss);
    standing.places.push_back(place);
  }
  std::stable_sort(standing.places.begin(), standing.places.end(),
                   [](const Standing::Place& a, const Standing::Place& b) {
                     if (a.worst != b.worst) return b.worst;
                     return !a.worst && a.loss < b.loss;
                   });
  return standing;
}

}  // namespace galleon::server
