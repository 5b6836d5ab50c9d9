// GALLEON_SIM_SEEDS=N runs so many seeds, GALLEON_SIM_FIRST=S begins with seed S: a failing seed is replayed with both.
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "tests/sim/cluster.h"

namespace galleon::server {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t value = otherwise;
  if (text != nullptr && !absl::SimpleAtoi(text, &value)) ADD_FAILURE() << name << " is not a number: " << text;
  return value;
}

TEST(Simulation, PromisesHoldUnderFaultsAndEveryJobComesToItsEnd) {
  const uint64_t first = from_environment("GALLEON_SIM_FIRST", 1);
  const uint64_t seeds = from_environment("GALLEON_SIM_SEEDS", 5'000);
  Cluster::Tally total;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    Cluster cluster(seed);
    const std::string broken = cluster.run();
    ASSERT_EQ(broken, "") << "seed " << seed << "; replay with GALLEON_SIM_FIRST=" << seed << " GALLEON_SIM_SEEDS=1";
    total.crashes += cluster.tally.crashes;
    total.attempts += cluster.tally.attempts;
    total.lost += cluster.tally.lost;
    total.succeeded += cluster.tally.succeeded;
    total.failed += cluster.tally.failed;
    total.cancelled += cluster.tally.cancelled;
    total.checkpoints += cluster.tally.checkpoints;
    total.refused_checkpoints += cluster.tally.refused_checkpoints;
    total.workers_gone += cluster.tally.workers_gone;
  }
  std::printf(
      "%llu seeds: %lld scheduler crashes, %lld attempts (%lld lost), %lld workers gone, %lld checkpoints (%lld "
      "refused); jobs: %lld "
      "succeeded, %lld failed, %lld cancelled\n",
      static_cast<unsigned long long>(seeds), static_cast<long long>(total.crashes),
      static_cast<long long>(total.attempts), static_cast<long long>(total.lost),
      static_cast<long long>(total.workers_gone), static_cast<long long>(total.checkpoints),
      static_cast<long long>(total.refused_checkpoints), static_cast<long long>(total.succeeded),
      static_cast<long long>(total.failed), static_cast<long long>(total.cancelled));
  if (seeds < 100) return;
  // A simulation in which nothing happens proves nothing.
  for (const int64_t count : {total.crashes, total.lost, total.succeeded, total.failed, total.cancelled,
                              total.checkpoints, total.refused_checkpoints, total.workers_gone}) {
    EXPECT_GT(count, static_cast<int64_t>(seeds / 100));
  }
}

}  // namespace
}  // namespace galleon::server
