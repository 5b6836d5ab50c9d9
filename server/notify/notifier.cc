#include "server/notify/notifier.h"

#include <algorithm>

namespace galleon::server {

namespace {

constexpr size_t kFewWaiting = 32;        // a box with fewer is filled
constexpr size_t kMostRead = 500;         // changes that are looked at in one round
constexpr size_t kMostCaughtUp = 20'000;  // and at the start, where they lie with all jobs
constexpr uint64_t kNotedEvery = 10'000;  // revisions of no interest, after which that is written down

}  // namespace

// All at once, and not one after the other.
Notifier::~Notifier() {
  for (auto& [name, told] : receivers_) told.receiver->stop();
}

std::vector<std::unique_ptr<Receiver>> Notifier::replace(NotifyConfig config) {
  std::vector<std::unique_ptr<Receiver>> gone;
  config_ = std::move(config);
  std::map<std::string, Told> next;
  for (const ReceiverConfig& wanted : config_.receivers) {
    Told& told = next[wanted.name];
    if (const auto it = receivers_.find(wanted.name);
        it != receivers_.end() && it->second.receiver->config() == wanted) {
      told = std::move(it->second);
      receivers_.erase(it);
      continue;
    }
    Receiver::Options sending = options_.sending;
    sending.clock = options_.clock;
    sending.counted = [counted = options_.counted, name = wanted.name](SendResult result) { counted(name, result); };
    told.receiver = std::make_unique<Receiver>(wanted, std::move(sending));
  }
  for (auto& [name, told] : receivers_) {
    told.receiver->stop();
    gone.push_back(std::move(told.receiver));
  }
  receivers_ = std::move(next);
  return gone;
}

void Notifier::feed(Scheduler& scheduler, Now now) {
  // What is noted from here on is not committed yet, and nobody is told of it.
  const uint64_t committed = scheduler.state().revision();
  std::vector<std::string> gone;
  for (const auto& [name, state] : scheduler.state().receivers()) {
    if (!receivers_.contains(name)) gone.push_back(name);
  }
  for (const std::string& name : gone) scheduler.forget_receiver(now, name);
  for (auto& [name, told] : receivers_) {
    if (!told.known) begin(scheduler, now, name, told, committed);
    note(scheduler, now, name, told, committed);
    fill(scheduler, now, told, committed);
  }
}

void Notifier::begin(Scheduler& scheduler, Now now, const std::string& name, Told& told, uint64_t committed) {
  told.known = true;
  const auto it = scheduler.state().receivers().find(name);
  if (it != scheduler.state().receivers().end()) {
    told.read = it->second.revision();
    told.number = it->second.number();
    return;
  }
  // A new one is told of what happens from now on: in an empty journal, of what comes behind this.
  told.read = std::max<uint64_t>(committed, 1);
  v1::ReceiverState state;
  state.set_name(name);
  state.set_revision(told.read);
  scheduler.told(now, state);
}

void Notifier::note(Scheduler& scheduler, Now now, const std::string& name, const Told& told, uint64_t committed) {
  const v1::ReceiverState& known = scheduler.state().receivers().at(name);
  const Receiver::Position position = told.receiver->position();
  v1::ReceiverState state = known;
  if (position.number > known.number()) {
    state.set_revision(std::max(known.revision(), position.revision));
    state.set_number(position.number);
  } else if (told.receiver->waiting() == 0 && told.number == known.number() &&
             std::min(told.read, committed) > known.revision() + kNotedEvery) {
    state.set_revision(std::min(told.read, committed));
  } else {
    return;
  }
  scheduler.told(now, state);
}

void Notifier::fill(const Scheduler& scheduler, Now now, Told& told, uint64_t committed) {
  if (told.read >= committed || told.receiver->waiting() >= kFewWaiting) return;
  const State& state = scheduler.state();
  // What is older than the newest changes has to be gathered from all jobs, which is done once.
  const size_t most = state.has_recent(told.read) ? kMostRead : kMostCaughtUp;
  std::vector<v1::Event> events;
  std::vector<Notification> notifications;
  if (!state.events_after(told.read, "", most, events)) {
    const uint64_t until = events.empty() ? committed : events.front().revision() - 1;
    notifications.push_back(lost_after(told.read, until, now.wall_ms, told.receiver->config(), ++told.number));
  }
  for (const v1::Event& event : events) {
    std::optional<Notification> made = notification_of(event, state, told.receiver->config(), told.number + 1);
    if (!made) continue;
    ++told.number;
    notifications.push_back(*std::move(made));
  }
  told.read = events.size() < most ? committed : events.back().revision();
  if (!notifications.empty()) told.receiver->add(std::move(notifications));
}

std::map<std::string, double> Notifier::behind() const {
  std::map<std::string, double> seconds;
  for (const auto& [name, told] : receivers_)
    seconds[name] = absl::ToDoubleSeconds(told.receiver->behind(options_.clock->now()));
  return seconds;
}

}  // namespace galleon::server
