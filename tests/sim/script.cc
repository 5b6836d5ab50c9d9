#include "tests/sim/script.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/sim/cluster.h"

namespace galleon::server {

namespace {

constexpr const char* kNames[] = {"submit",  "cancel",      "reprioritize", "order",   "sleep",   "freeze",
                                  "restart", "power off",   "kill",         "fail",    "break",   "leave",
                                  "crash",   "reconfigure", "clock jump",   "hold",    "requeue", "resume",
                                  "delete",  "sweep",       "hang",         "takeover"};

void share_among_users(std::mt19937_64& random, QueueConfig& queue, uint32_t slots) {
  if (random() % 2 == 0) queue.half_life_ms = static_cast<int64_t>(5'000 + random() % 40'000);
  if (random() % 3 == 0) queue.user_limit_slots = static_cast<uint32_t>(1 + random() % slots);
  if (random() % 3 == 0) queue.user_limit_queued = static_cast<uint32_t>(1 + random() % 4);
  if (random() % 3 == 0) queue.user_weights["u0"] = static_cast<double>(1 + random() % 3);
}

}  // namespace

std::string Step::text() const {
  const std::string what = kNames[static_cast<size_t>(kind)];
  if (kind == Kind::kCrash || kind == Kind::kTakeover)
    return absl::StrCat(what, after ? " after" : " before", " commit ", commit);
  return absl::StrCat("at ", time_ms, " ms: ", what, " (", seed % 1000, ")");
}

uint32_t Script::total_slots() const {
  return std::accumulate(slots.begin(), slots.end(), 0U);
}

bool Script::runs_long() const {
  return std::any_of(streams.begin(), streams.end(), [](const Stream& stream) { return stream.steps > 0; });
}

std::string Script::text() const {
  std::string text = absl::StrCat("seed ", seed, ", machines of");
  for (const uint32_t count : slots) absl::StrAppend(&text, " ", count);
  absl::StrAppend(&text, " slots, messages lost ", lost, " doubled ", doubled, " late ", late, ", no folder ",
                  no_folder, "\n");
  for (const QueueConfig& queue : queues) {
    absl::StrAppend(&text, "queue ", queue.id, " weight ", queue.weight, " guaranteed ", queue.guaranteed, " limit ",
                    queue.limit, " half-life ", queue.half_life_ms, " of a user ", queue.user_limit_slots, " slots ",
                    queue.user_limit_queued, " queued");
    if (queue.retention.age_ms.has_value()) absl::StrAppend(&text, " keeps for ", *queue.retention.age_ms, " ms");
    if (queue.retention.jobs > 0) absl::StrAppend(&text, " keeps ", queue.retention.jobs);
    absl::StrAppend(&text, " folders ", static_cast<int>(queue.retention.folders), "\n");
  }
  for (const Stream& stream : streams) {
    absl::StrAppend(&text, "always ", stream.ranks, stream.preemptible ? " ranks" : " fixed ranks", " for queue ",
                    queues[stream.queue].id, " of ", stream.user, "\n");
  }
  for (const Step& step : steps) absl::StrAppend(&text, step.text(), "\n");
  return text;
}

Script make_script(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto between = [&random](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  Script script;
  script.seed = seed;
  for (int64_t i = between(1, 4); i > 0; --i) script.slots.push_back(static_cast<uint32_t>(between(1, 3)));
  const uint32_t total = script.total_slots();
  script.queues.push_back({"default", 1, 0, 0, "default"});
  if (between(0, 1) == 1) {
    QueueConfig queue{"team", static_cast<double>(between(1, 4)), 0, 0, "default"};
    queue.guaranteed = static_cast<uint32_t>(between(0, total));
    if (between(0, 1) == 1)
      queue.limit = static_cast<uint32_t>(between(std::max<uint32_t>(1, queue.guaranteed), total));
    script.queues.push_back(queue);
  }
  // Of its own random numbers, so that whatever else happens is as without users.
  std::mt19937_64 users(seed + 1);
  for (QueueConfig& queue : script.queues) share_among_users(users, queue, total);
  const auto add = [&](Step::Kind kind, int64_t most, int64_t until_ms) {
    for (int64_t i = between(0, most); i > 0; --i) {
      Step& step = script.steps.emplace_back();
      step.kind = kind;
      step.time_ms = between(0, until_ms);
      step.seed = random();
      step.commit = static_cast<uint64_t>(between(1, 120));
      step.after = between(0, 1) == 1;
    }
  };
  add(Step::Kind::kSubmit, 6, Cluster::kChaosMs * 2 / 3);
  add(Step::Kind::kSubmit, 2, 1'000);
  add(Step::Kind::kCancel, 2, Cluster::kChaosMs);
  add(Step::Kind::kReprioritize, 3, Cluster::kChaosMs);
  add(Step::Kind::kOrder, 3, Cluster::kChaosMs);
  for (const Step::Kind kind : {Step::Kind::kSleep, Step::Kind::kFreeze, Step::Kind::kRestart, Step::Kind::kPowerOff,
                                Step::Kind::kKill, Step::Kind::kFail, Step::Kind::kLeave}) {
    add(kind, 4, Cluster::kChaosMs);
  }
  add(Step::Kind::kBreak, 2, Cluster::kChaosMs / 2);
  add(Step::Kind::kCrash, 3, 0);
  add(Step::Kind::kClockJump, 1, Cluster::kChaosMs);
  add(Step::Kind::kReconfigure, 3, Cluster::kChaosMs);
  add(Step::Kind::kHold, 3, Cluster::kChaosMs);
  for (const Step::Kind kind : {Step::Kind::kRequeue, Step::Kind::kResume, Step::Kind::kDelete})
    add(kind, 2, Cluster::kChaosMs);
  add(Step::Kind::kSweep, 1, Cluster::kChaosMs / 2);
  std::stable_sort(script.steps.begin(), script.steps.end(),
                   [](const Step& a, const Step& b) { return a.time_ms < b.time_ms; });
  for (QueueConfig& queue : script.queues) {
    if (between(0, 2) == 0) queue.retention.age_ms = between(1'000, 20'000);
    if (between(0, 2) == 0) queue.retention.jobs = static_cast<uint64_t>(between(1, 3));
    queue.retention.folders = static_cast<Retention::Folders>(between(0, 2));
  }
  return script;
}

Script make_takeovers(uint64_t seed) {
  Script script = make_script(seed);
  script.stands_by = true;
  std::mt19937_64 random(seed + 2);
  for (uint64_t i = random() % 4; i > 0; --i) {
    Step& step = script.steps.emplace_back();
    step.kind = Step::Kind::kHang;
    step.time_ms = static_cast<int64_t>(random() % Cluster::kChaosMs);
    step.seed = random();
  }
  for (uint64_t i = 1 + random() % 4; i > 0; --i) {
    Step& step = script.steps.emplace_back();
    step.kind = Step::Kind::kTakeover;
    step.commit = 1 + random() % 120;
    step.after = random() % 2 == 1;
  }
  return script;
}

Script make_crowd(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto between = [&random](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  Script script;
  script.seed = seed;
  script.lost = script.doubled = script.late = script.no_folder = 0;
  for (int64_t i = between(1, 3); i > 0; --i) script.slots.push_back(static_cast<uint32_t>(between(1, 3)));
  const uint32_t total = script.total_slots();
  uint32_t promised = 0;
  // Where others run for long, a queue that comes and goes has to get back what it is guaranteed.
  const bool lends = seed % 4 == 0 && total > 1;
  for (int64_t i = between(lends ? 2 : 1, 3); i > 0; --i) {
    QueueConfig& queue = script.queues.emplace_back();
    queue.id = std::string(1, static_cast<char>('a' + i));
    queue.weight = static_cast<double>(between(1, 3));
    // Something is left for those to whom nothing is guaranteed.
    queue.guaranteed = static_cast<uint32_t>(between(0, (total - promised - 1) / 2));
    if (lends && promised == 0) queue.guaranteed = std::max(1U, queue.guaranteed);
    promised += queue.guaranteed;
  }
  for (size_t q = 0; q < script.queues.size(); ++q) {
    for (int64_t i = between(1, 2); i > 0; --i) {
      Stream& stream = script.streams.emplace_back();
      stream.queue = q;
      // What others are guaranteed they may always use.
      stream.ranks = static_cast<uint32_t>(between(1, total - promised + script.queues[q].guaranteed));
      stream.preemptible = between(0, 1) == 1;
      if (!lends) continue;
      stream.preemptible = true;
      stream.steps = q == 0 ? 0 : 300;
      stream.pause_ms = q == 0 ? 15'000 : 0;
      if (q == 0) stream.ranks = static_cast<uint32_t>(between(1, script.queues[0].guaranteed));
    }
  }
  std::mt19937_64 users(seed + 1);
  for (size_t q = 0; q < script.queues.size() && !lends; ++q) {
    QueueConfig& queue = script.queues[q];
    share_among_users(users, queue, total);
    queue.user_limit_queued = 0;
    uint32_t largest = 0;
    for (Stream& stream : script.streams) {
      if (stream.queue != q) continue;
      stream.user = absl::StrCat("u", users() % 2);
      largest = std::max(largest, stream.ranks);
    }
    if (queue.user_limit_slots != 0) queue.user_limit_slots = std::max(queue.user_limit_slots, largest);
    // Somebody who comes later, and has used nothing yet.
    if (queue.half_life_ms > 0) script.streams.push_back({q, 1, true, 0, 40'000, "late"});
  }
  return script;
}

}  // namespace galleon::server
