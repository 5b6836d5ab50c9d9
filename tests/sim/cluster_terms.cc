// Two schedulers on one store: whoever stands by takes the next term when the lease of the writer has ended by the
// store's clock; the writer goes on with what it has begun, and finds out.
#include <algorithm>
#include <iterator>
#include <utility>

#include "tests/sim/cluster.h"

namespace galleon::server {

namespace {

constexpr int64_t kLeaseMs = 3'000;

}  // namespace

void Cluster::swap_schedulers() {
  std::swap(scheduler_, other_.scheduler);
  std::swap(life_, other_.life);
  std::swap(term_, other_.term);
}

void Cluster::as(uint64_t life, const std::function<void()>& action) {
  const bool other = life == other_.life && life != life_;
  if (!other && life != life_) return;
  if (other) swap_schedulers();
  if (scheduler_ != nullptr) {
    if (now_ms_ < term_.hangs_until_ms) {
      at(term_.hangs_until_ms - now_ms_, [this, life, action] { as(life, action); });
    } else if (!script_.stands_by || stands()) {
      action();
    }
  }
  if (other) swap_schedulers();
}

// Before anything is decided or answered: the lease as this one's own clock has it, a tenth shorter as clocks drift; or
// else what the store says.
bool Cluster::stands() {
  const double own_ms = static_cast<double>(now_ms_ - term_.renewed_ms) * term_.clock_rate;
  const double safe = fault_ == Fault::kLeaseWithoutMargin ? 1 : 0.9;
  if (own_ms < safe * kLeaseMs || fault_ == Fault::kAnswersWithoutAsking) {
    promises_.require(term_.number == store_term_, "one writes at a time: no term begins while another is believed in");
    return true;
  }
  if (term_.number == store_term_) {
    lease_until_ms_ = now_ms_ + kLeaseMs;
    term_.renewed_ms = now_ms_;
    return true;
  }
  ++tally.fenced;
  scheduler_.reset();
  return false;
}

void Cluster::begin_term() {
  term_ = {++store_term_, 1, now_ms_, 0, journal_.size()};
  if (script_.stands_by) term_.clock_rate = std::uniform_real_distribution<double>(0.93, 1.07)(random_);
  lease_until_ms_ = now_ms_ + kLeaseMs;
}

// The other scheduler becomes what `scheduler_` is; that one lives on.
void Cluster::take_over() {
  ++tally.takeovers;
  other_ = {nullptr, ++lives_, {}};
  swap_schedulers();
  promises_.forget_groups();
  recover();
}

void Cluster::terms_tick() {
  if (other_.scheduler != nullptr) as(other_.life, [this] { scheduler_tick(); });
  if (scheduler_ == nullptr) return;
  const bool awake = now_ms_ >= term_.hangs_until_ms;
  if (awake && now_ms_ - term_.renewed_ms >= kLeaseMs / 3 && !chance(faults(0.4))) {
    // The store takes it later than it was sent.
    term_.renewed_ms = now_ms_ - between(0, 80);
    lease_until_ms_ = now_ms_ + kLeaseMs;
  }
  const int64_t early = fault_ == Fault::kLeaseByOwnClock ? between(0, kLeaseMs) : 0;
  if (now_ms_ + early >= lease_until_ms_) take_over();
  if (scheduler_ != nullptr && now_ms_ >= term_.hangs_until_ms) (void)stands();
  if (chance(0.2)) ask_for_what_was_acknowledged();
}

// As if the time of a lease went by while the store answers.
void Cluster::take_over_in_commit(bool after) {
  if (term_.number != store_term_ || other_is_newer_) return;
  const bool here = std::any_of(script_.steps.begin(), script_.steps.end(), [&](const Step& step) {
    return step.kind == Step::Kind::kTakeover && step.commit == commits_ && step.after == after;
  });
  if (!here) return;
  term_.renewed_ms = now_ms_ - 2 * kLeaseMs;
  take_over();
  swap_schedulers();
  other_is_newer_ = true;
}

// A batch is taken in the newest term, behind all that is there. Its answer may be lost: then the scheduler sees from
// how far the journal has got what became of it, and the batch may come again much later.
bool Cluster::store_takes(size_t events) {
  const bool newest = term_.number == store_term_ || fault_ == Fault::kTermIsNotChecked;
  if (!newest || term_.written != journal_.size()) {
    promises_.require(term_.number != store_term_, "whoever has the term knows all that is written");
    ++tally.fenced;
    scheduler_.reset();
    return false;
  }
  promises_.require(term_.number == store_term_, "one writer a term: nothing is written under an older one");
  if (chance(faults(0.1))) {
    at(between(1, 6'000), [this, term = term_.number, behind = term_.written, events] {
      promises_.require(term != store_term_ || behind + events <= journal_.size(), "a batch is written once");
    });
  }
  return promises_.broken().empty();
}

// What was acknowledged before somebody asks is in the answer, whoever gives it.
void Cluster::ask_for_what_was_acknowledged() {
  if (acknowledged_jobs_.empty()) return;
  const auto index = between(0, static_cast<int64_t>(acknowledged_jobs_.size()) - 1);
  network([this, id = *std::next(acknowledged_jobs_.begin(), index)] {
    if (acknowledged_jobs_.contains(id))
      promises_.require(scheduler_->state().job(id) != nullptr, "what was acknowledged is read");
    if (acknowledged_cancels_.contains(id)) {
      // It was given before this answer, and perhaps by another scheduler.
      const v1::JobState* job = scheduler_->state().job(id);
      promises_.require(job != nullptr && (job->record().state() == v1::JobRecord::CANCELLED ||
                                           job->record().state() == v1::JobRecord::CANCELLING),
                        "an acknowledged cancel is read");
    }
  });
}

}  // namespace galleon::server
