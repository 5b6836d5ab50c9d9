// GALLEON_SIM_SEEDS=N runs so many seeds, GALLEON_SIM_FIRST=S begins with seed S: a failing seed is replayed with both.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/cluster.h"

namespace galleon::server {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t value = otherwise;
  if (text != nullptr && !absl::SimpleAtoi(text, &value)) ADD_FAILURE() << name << " is not a number: " << text;
  return value;
}

// The kind of a broken promise, without the names in it.
std::string kind_of(const std::string& broken) {
  return broken.substr(0, broken.find(':'));
}

std::string run(const Script& script, Cluster::Fault fault = Cluster::Fault::kNone) {
  return Cluster(script, fault).run();
}

// The shortest script that breaks the same promise, and what then happens.
std::string explain(const Script& script, const std::string& broken) {
  const std::string kind = kind_of(broken);
  const Script shortest = shrink(
      script, [&kind](const Script& s) { return kind_of(run(s)) == kind; }, 500);
  Cluster cluster(shortest);
  const std::string still = cluster.run();
  return absl::StrCat("broken: ", broken, "\nreplay with GALLEON_SIM_FIRST=", script.seed,
                      " GALLEON_SIM_SEEDS=1\nshortest history found, of ", shortest.steps.size(), " steps out of ",
                      script.steps.size(), ":\n", shortest.text(), cluster.history(60), "=> ", still);
}

void add(Cluster::Tally& total, const Cluster::Tally& one) {
  total.crashes += one.crashes;
  total.attempts += one.attempts;
  total.lost += one.lost;
  total.succeeded += one.succeeded;
  total.failed += one.failed;
  total.cancelled += one.cancelled;
  total.checkpoints += one.checkpoints;
  total.refused_checkpoints += one.refused_checkpoints;
  total.workers_gone += one.workers_gone;
  total.preempted += one.preempted;
  total.drained += one.drained;
  total.dependants_failed += one.dependants_failed;
  total.refused_starts += one.refused_starts;
  total.place_faults += one.place_faults;
  total.cordoned_itself += one.cordoned_itself;
  total.held += one.held;
  total.requeued += one.requeued;
  total.resumed += one.resumed;
  total.deleted += one.deleted;
  total.forgotten += one.forgotten;
  total.timed_out += one.timed_out;
  total.groups += one.groups;
  total.rungs += one.rungs;
  total.halved += one.halved;
  total.yielded += one.yielded;
  total.over_quota += one.over_quota;
  total.turns += one.turns;
}

TEST(Simulation, PromisesHoldUnderFaultsAndEveryJobComesToItsEnd) {
  const uint64_t first = from_environment("GALLEON_SIM_FIRST", 1);
  const uint64_t seeds = from_environment("GALLEON_SIM_SEEDS", 20'000);
  Cluster::Tally total;
  std::mutex mutex;
  std::string failure;
  std::atomic<uint64_t> next{first};
  const auto work = [&] {
    for (uint64_t seed = next++; seed < first + seeds; seed = next++) {
      const Script script = make_script(seed);
      Cluster cluster(script);
      const std::string broken = cluster.run();
      const std::lock_guard<std::mutex> lock(mutex);
      if (!failure.empty()) return;
      if (!broken.empty()) failure = absl::StrCat("seed ", seed, " ", explain(script, broken));
      add(total, cluster.tally);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(failure, "");
  std::printf(
      "%llu seeds: %lld scheduler crashes, %lld attempts (%lld lost), %lld preempted, %lld drained, %lld workers gone, "
      "%lld checkpoints (%lld refused); jobs: %lld succeeded, %lld failed (%lld with one before them), %lld "
      "cancelled\n",
      static_cast<unsigned long long>(seeds), static_cast<long long>(total.crashes),
      static_cast<long long>(total.attempts), static_cast<long long>(total.lost),
      static_cast<long long>(total.preempted), static_cast<long long>(total.drained),
      static_cast<long long>(total.workers_gone), static_cast<long long>(total.checkpoints),
      static_cast<long long>(total.refused_checkpoints), static_cast<long long>(total.succeeded),
      static_cast<long long>(total.failed), static_cast<long long>(total.dependants_failed),
      static_cast<long long>(total.cancelled));
  if (seeds < 100) return;
  // A simulation in which nothing happens proves nothing.
  for (const int64_t count : {total.crashes,
                              total.lost,
                              total.succeeded,
                              total.failed,
                              total.cancelled,
                              total.checkpoints,
                              total.refused_checkpoints,
                              total.workers_gone,
                              total.preempted,
                              total.drained,
                              total.dependants_failed,
                              total.refused_starts,
                              total.place_faults,
                              total.cordoned_itself,
                              total.held,
                              total.requeued,
                              total.resumed,
                              total.deleted,
                              total.forgotten,
                              total.timed_out,
                              total.groups,
                              total.rungs,
                              total.halved,
                              total.yielded,
                              total.over_quota,
                              total.turns}) {
    EXPECT_GT(count, static_cast<int64_t>(seeds / 100));
  }
}

TEST(Simulation, InACrowdWhoeverFitsStartsWithinABound) {
  const uint64_t first = from_environment("GALLEON_SIM_FIRST", 1);
  const uint64_t seeds = from_environment("GALLEON_SIM_SEEDS", 20'000) / 20;
  int64_t longest_ms = 0;
  int64_t guarantee_ms = 0;
  int64_t preempted = 0;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    Cluster cluster(make_crowd(seed));
    const std::string broken = cluster.run();
    ASSERT_EQ(broken, "") << "seed " << seed << "\n" << make_crowd(seed).text() << cluster.history(60);
    longest_ms = std::max(longest_ms, cluster.tally.longest_wait_ms);
    guarantee_ms = std::max(guarantee_ms, cluster.tally.longest_guarantee_ms);
    preempted += cluster.tally.preempted;
  }
  std::printf("%llu crowds: the longest wait was %lld ms, for a guarantee %lld ms, %lld preempted\n",
              static_cast<unsigned long long>(seeds), static_cast<long long>(longest_ms),
              static_cast<long long>(guarantee_ms), static_cast<long long>(preempted));
}

TEST(Simulation, ACrashBeforeOrAfterAnyCommitBreaksNoPromise) {
  for (const uint64_t seed : {3, 17}) {
    Script script = make_script(seed);
    std::erase_if(script.steps, [](const Step& step) { return step.kind == Step::Kind::kCrash; });
    Cluster whole(script);
    ASSERT_EQ(whole.run(), "");
    for (uint64_t commit = 1; commit <= whole.commits(); ++commit) {
      for (const bool after : {false, true}) {
        Script crashing = script;
        Step& step = crashing.steps.emplace_back();
        step.kind = Step::Kind::kCrash;
        step.commit = commit;
        step.after = after;
        const std::string broken = run(crashing);
        ASSERT_EQ(broken, "") << explain(crashing, broken);
      }
    }
  }
}

TEST(Simulation, TwoSchedulersOnOneStoreKeepThePromises) {
  const uint64_t first = from_environment("GALLEON_SIM_FIRST", 1);
  const uint64_t seeds = from_environment("GALLEON_SIM_SEEDS", 20'000) / 20;
  int64_t takeovers = 0, fenced = 0;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    Cluster cluster(make_takeovers(seed));
    const std::string broken = cluster.run();
    ASSERT_EQ(broken, "") << explain(make_takeovers(seed), broken);
    takeovers += cluster.tally.takeovers;
    fenced += cluster.tally.fenced;
  }
  std::printf("%llu seeds: %lld takeovers, %lld writers whose term was over\n", static_cast<unsigned long long>(seeds),
              static_cast<long long>(takeovers), static_cast<long long>(fenced));
  if (seeds < 20) return;
  EXPECT_GT(takeovers, static_cast<int64_t>(seeds));
  EXPECT_GT(fenced, static_cast<int64_t>(seeds / 2));
}

TEST(Simulation, BrokenTermsAreNoticed) {
  using Fault = Cluster::Fault;
  for (const auto& [fault, told] :
       std::vector<std::pair<Fault, std::string>>{{Fault::kTermIsNotChecked, "one writer a term"},
                                                  {Fault::kLeaseByOwnClock, "one writes at a time"},
                                                  {Fault::kLeaseWithoutMargin, "one writes at a time"},
                                                  {Fault::kAnswersWithoutAsking, "one writes at a time"}}) {
    bool noticed = false;
    for (uint64_t seed = 1; seed < 300 && !noticed; ++seed) noticed = kind_of(run(make_takeovers(seed), fault)) == told;
    EXPECT_TRUE(noticed) << told;
  }
}

TEST(Simulation, AnAnswerBeforeTheCommitIsNoticedAndShrunkToAFewSteps) {
  const auto fails = [](const Script& script) {
    return kind_of(run(script, Cluster::Fault::kAnswersBeforeCommit)).find("acknowledged") != std::string::npos;
  };
  // A crash at a late commit needs all that led to it: of several that are found, one is short.
  std::optional<Script> shortest;
  int found = 0;
  for (uint64_t seed = 1; seed < 2'000 && found < 12 && !(shortest && shortest->steps.size() <= 4); ++seed) {
    const Script script = make_script(seed);
    if (!fails(script)) continue;
    ++found;
    Script shrunk = shrink(script, fails);
    EXPECT_LT(shrunk.steps.size(), script.steps.size());
    if (!shortest || shrunk.steps.size() < shortest->steps.size()) shortest = std::move(shrunk);
  }
  ASSERT_TRUE(shortest.has_value());
  EXPECT_LE(shortest->steps.size(), 4U) << shortest->text();
  EXPECT_TRUE(fails(*shortest));
}

}  // namespace
}  // namespace galleon::server
