#include "server/core/line.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/core/pass.h"

namespace galleon::server {

void Line::add(size_t job, int64_t user) {
  const auto [it, added] = index_.try_emplace(user, users_.size());
  if (added) users_.emplace_back();
  users_[it->second].jobs.push_back(job);
}

void Line::open(bool take_turns, const std::vector<QueuedJob>& queued, const std::vector<UserShare>& users) {
  take_turns_ = take_turns;
  queued_ = &queued;
  for (const auto& [user, index] : index_) {
    if (take_turns && user != kNoUser) {
      const UserShare& share = users[static_cast<size_t>(user)];
      users_[index].weight = share.weight;
      users_[index].load = (static_cast<double>(share.used) + share.recent) / share.weight;
    }
    push(index);
  }
}

bool Line::comes_after(const Turn& a, const Turn& b) {
  if (a.priority != b.priority) return a.priority < b.priority;
  if (a.overdue != b.overdue) return b.overdue;
  if (a.overdue) return a.number > b.number;
  if (a.load != b.load) return a.load > b.load;
  return a.number > b.number;
}

void Line::push(size_t user) {
  const User& one = users_[user];
  if (one.next == one.jobs.size()) return;
  const size_t index = one.jobs[one.next];
  const QueuedJob& job = (*queued_)[index];
  heap_.push_back({index, user, job.priority, take_turns_ && job.overdue, take_turns_ ? one.load : 0, job.number});
  std::push_heap(heap_.begin(), heap_.end(), comes_after);
}

size_t Line::take() {
  std::pop_heap(heap_.begin(), heap_.end(), comes_after);
  const Turn turn = heap_.back();
  heap_.pop_back();
  taken_user_ = turn.user;
  ++users_[turn.user].next;
  order_.push_back(turn.job);
  return turn.job;
}

void Line::served(bool counts) {
  User& user = users_[taken_user_];
  if (counts) user.load += static_cast<double>((*queued_)[order_.back()].demand->ranks()) / user.weight;
  push(taken_user_);
}

std::vector<size_t> Line::take_all() {
  const size_t first = order_.size();
  while (!empty()) {
    take();
    served(true);
  }
  return {order_.begin() + static_cast<int64_t>(first), order_.end()};
}

std::vector<size_t> Line::take_all_of_user() {
  User& user = users_[taken_user_];
  const std::vector<size_t> rest(user.jobs.begin() + static_cast<int64_t>(user.next), user.jobs.end());
  user.next = user.jobs.size();
  std::erase_if(heap_, [this](const Turn& turn) { return turn.user == taken_user_; });
  std::make_heap(heap_.begin(), heap_.end(), comes_after);
  order_.insert(order_.end(), rest.begin(), rest.end());
  return rest;
}

namespace {

std::string use_text(const UserShare& user) {
  return absl::StrFormat("%s uses %s now and used %.1f lately", user.name->empty() ? "everybody" : *user.name,
                         count_text(user.used, "slot"), user.recent);
}

void tell_turns_of(const Line& line, const PassInput& input, const std::vector<bool>& starts, PassResult& result) {
  uint32_t place = 0;
  int64_t next = kNoUser;
  for (const bool limited : {false, true}) {
    for (const size_t job : line.order()) {
      if (starts[job] || (result.waits[job].kind == Wait::Kind::kUserLimit) != limited) continue;
      result.turns[job] = ++place;
      if (next == kNoUser && waits_for_slots(result.waits[job].kind)) next = input.queued[job].user;
    }
  }
  if (next == kNoUser) return;
  const UserShare& first = input.users[static_cast<size_t>(next)];
  std::map<int64_t, std::shared_ptr<const std::string>> words;
  for (const size_t job : line.order()) {
    if (starts[job] || !waits_for_slots(result.waits[job].kind)) continue;
    const int64_t user = input.queued[job].user;
    std::shared_ptr<const std::string>& told = words[user];
    if (told == nullptr) {
      std::string text =
          absl::StrCat("it is the turn of ", first.name->empty() ? "everybody" : *first.name, ": ", use_text(first));
      if (user != next) absl::StrAppend(&text, ", ", use_text(input.users[static_cast<size_t>(user)]));
      told = std::make_shared<const std::string>(std::move(text));
    }
    result.waits[job].turn = told;
  }
}

}  // namespace

void tell_turns(const std::vector<Line>& lines, const PassInput& input, const std::vector<bool>& starts,
                PassResult& result) {
  result.turns.resize(input.queued.size());
  for (size_t q = 0; q < lines.size(); ++q) {
    if (input.queues[q].config.half_life_ms > 0) tell_turns_of(lines[q], input, starts, result);
  }
}

void tell_limit(const UserShare& user, const QueueUse& queue, Wait& wait) {
  wait.name = queue.config.id;
  wait.user = *user.name;
  wait.used = user.used;
  wait.limit = user.limit;
}

}  // namespace galleon::server
