// What is promised of groups of jobs: how many run, and who ends at a rung.
#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/core/scheduler.h"
#include "server/core/transitions.h"
#include "tests/sim/promises.h"

namespace galleon::server {

namespace {

constexpr int64_t kSoonMs = 3'000;

const v1::RungLoss* loss_of(const v1::JobRecord& record, uint64_t rung) {
  for (const v1::RungLoss& loss : record.rungs()) {
    if (loss.rung() == rung) return &loss;
  }
  return nullptr;
}

uint64_t undecided(const v1::Group& group) {
  for (const v1::GroupRung& rung : group.rungs()) {
    if (!rung.decided()) return rung.step();
  }
  return 0;
}

// Is it at least as good as the other? Trainers report no loss but at rungs.
bool not_worse(const v1::JobState& a, const v1::JobState& b, uint64_t rung) {
  const auto worst = [rung](const v1::JobRecord& record) {
    if (record.state() == v1::JobRecord::FAILED || record.state() == v1::JobRecord::CANCELLED) return true;
    return loss_of(record, rung) == nullptr || !std::isfinite(loss_of(record, rung)->loss());
  };
  if (worst(a.record()) != worst(b.record())) return worst(b.record());
  if (worst(a.record())) return a.number() < b.number();
  const double first = loss_of(a.record(), rung)->loss();
  const double second = loss_of(b.record(), rung)->loss();
  return first != second ? first < second : a.number() < b.number();
}

}  // namespace

void Promises::check_max_running(const v1::JobRecord& record, const State& state) {
  const v1::GroupState* group = state.group(record.group());
  if (group == nullptr || group->group().max_running() == 0) return;
  size_t running = 0;
  for (const auto& [id, epoch] : live_epoch_) running += state.job(id)->record().group() == record.group();
  require(running <= group->group().max_running(), "no more jobs of a group run than may at a time");
}

void Promises::check_taker(const v1::JobRecord& taker, const State& state) {
  const v1::GroupState* group = state.group(taker.group());
  const uint64_t rung = group == nullptr ? 0 : undecided(group->group());
  require(rung == 0 || loss_of(taker, rung) == nullptr || out_[taker.group()].contains(taker.job_id()),
          "who waits at a rung takes no slots from others");
}

void Promises::check_rung(const v1::RungDecided& decided, const State& state) {
  if (decided.group_id().empty()) return;
  const v1::Group& group = state.group(decided.group_id())->group();
  require(undecided(group) == decided.step(), "rungs are decided in order, each once");
  std::set<std::string>& out = out_[decided.group_id()];
  std::vector<std::string> expected;
  for (const uint64_t number : state.members(decided.group_id())) {
    const v1::JobRecord& record = state.job_by_number(number)->record();
    if (out.contains(record.job_id())) continue;
    require(is_terminal(record.state()) || loss_of(record, decided.step()) != nullptr,
            "a rung is decided when each member has reached it or cannot any more");
    expected.push_back(record.job_id());
  }
  std::sort(expected.begin(), expected.end(), [&](const std::string& a, const std::string& b) {
    return a != b && not_worse(*state.job(a), *state.job(b), decided.step());
  });
  const std::vector<std::string> ranking(decided.ranking().begin(), decided.ranking().end());
  require(ranking == expected, "a rung ranks by loss, the failed last, of equals the earlier first");
  require(decided.kept() == expected.size() - expected.size() / 2, "the worse half ends, and no more");
  for (size_t i = decided.kept(); i < ranking.size(); ++i) out.insert(ranking[i]);
}

void Promises::check_halved(const v1::JournalEvent& event, const State& state) {
  const bool stopped = event.stop_ordered().stop().cause() == v1::StopOrder::HALVED;
  const bool ended = absl::StartsWith(event.job_ended().message(), "ends with the worse half");
  const std::string id = stopped ? event.stop_ordered().id().job_id() : event.job_ended().job_id();
  if (stopped || ended)
    require(out_[state.job(id)->record().group()].contains(id), "only the worse half of a group ends at a rung");
  if (ended) require(event.job_ended().state() == v1::JobRecord::CANCELLED, "who ends at a rung has not failed");
  if (event.stop_ordered().stop().cause() == v1::StopOrder::YIELDED)
    require(event.stop_ordered().stop().grace_milliseconds() > 0, "who lets others go first has time for a checkpoint");
  if (event.has_group_created())
    creating_[event.group_created().group().group().group_id()] = {0, event.group_created().group().group().size()};
  if (event.has_job_created() && !event.job_created().group().empty()) ++creating_[event.job_created().group()].first;
}

void Promises::see_groups(const State& state, Now now, bool quiet) {
  // All of this is done at the end of each round.
  for (const auto& [id, jobs] : creating_)
    require(jobs.first == jobs.second, "a group's jobs are made together, or none of them");
  creating_.clear();
  std::set<std::string> due;
  for (const auto& [group_number, group_state] : state.groups()) {
    const v1::Group& group = group_state.group();
    const uint64_t rung = undecided(group);
    if (rung == 0) continue;
    const std::set<std::string>& out = out_[group.group_id()];
    bool complete = true;
    bool alive = false;
    const v1::JobState* waits = nullptr;
    int waiting = 0;
    int making_room = 0;
    for (const uint64_t number : state.members(group.group_id())) {
      const v1::JobState& job = *state.job_by_number(number);
      const v1::JobRecord& record = job.record();
      if (out.contains(record.job_id())) continue;
      alive |= !is_terminal(record.state());
      const bool there = loss_of(record, rung) != nullptr;
      complete &= there || is_terminal(record.state());
      const bool makes_room = job.held_size() > 0;
      if (!there && record.state() == v1::JobRecord::QUEUED && !record.held() && !makes_room &&
          now.wall_ms >= job.not_before_ms()) {
        waits = &job;
        ++waiting;
      }
      const v1::AttemptState* attempt = live_attempt(job);
      making_room += attempt != nullptr && (attempt->closed() || attempt->has_stop());
    }
    if (complete && alive) due.insert(absl::StrCat("a rung is decided once all have reached it: ", group.group_id()));
    if (waiting <= making_room || !quiet || open_ != slots_) continue;
    for (const uint64_t number : state.members(group.group_id())) {
      const v1::JobState& job = *state.job_by_number(number);
      const v1::AttemptState* attempt = live_attempt(job);
      if (loss_of(job.record(), rung) == nullptr || attempt == nullptr || attempt->closed() || attempt->has_stop() ||
          job.record().state() != v1::JobRecord::RUNNING || out.contains(job.record().job_id()) ||
          job.record().queue() != waits->record().queue())
        continue;
      due.insert(absl::StrCat("who has reached a rung lets others reach it: ", job.record().job_id(), " ",
                              attempt->attempt().epoch()));
    }
  }
  for (const std::string& what : due) {
    const int64_t since_ms = due_since_ms_.emplace(what, now.mono_ms).first->second;
    require(now.mono_ms - since_ms <= kSoonMs, what);
  }
  std::erase_if(due_since_ms_, [&due](const auto& entry) { return !due.contains(entry.first); });
}

void Promises::check_groups(const State& state) {
  for (const auto& [number, entry] : state.jobs()) {
    const v1::JobRecord& record = state.job_by_number(number)->record();
    require(record.stopped_at_rung() == 0 || record.state() == v1::JobRecord::CANCELLED,
            absl::StrCat("who is in the worse half ends: ", record.job_id()));
    require(record.group().empty() || state.group(record.group()) != nullptr, "a group is there as long as its jobs");
  }
  for (const auto& [number, group] : state.groups())
    require(!state.members(group.group().group_id()).empty(), "a group without jobs is gone");
}

}  // namespace galleon::server
