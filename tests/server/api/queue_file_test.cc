#include "server/api/queue_file.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace galleon::server {
namespace {

TEST(QueueFile, EveryKeyIsReadAndTheOthersKeepTheirDefaults) {
  const absl::StatusOr<std::vector<QueueConfig>> queues = parse_queues(
      "queues:\n  lab: {weight: 2.5, guaranteed_slots: 4, limit_slots: 16, project: science}\n  default:\n", "q.yaml");
  ASSERT_TRUE(queues.ok()) << queues.status();
  ASSERT_EQ(queues->size(), 2U);
  EXPECT_EQ((*queues)[0].id, "lab");
  EXPECT_EQ((*queues)[0].weight, 2.5);
  EXPECT_EQ((*queues)[0].guaranteed, 4U);
  EXPECT_EQ((*queues)[0].limit, 16U);
  EXPECT_EQ((*queues)[0].project, "science");
  EXPECT_EQ((*queues)[1].weight, 1);
  EXPECT_EQ((*queues)[1].limit, 0U);
  EXPECT_EQ((*queues)[1].project, "default");
}

TEST(QueueFile, WhatIsKeptOfEndedJobsIsSaidForAllAndForEach) {
  const absl::StatusOr<std::vector<QueueConfig>> queues = parse_queues(
      "queues:\n  lab: {retention: {jobs: 500, folders: checkpoints}}\n  nightly: {retention: {age: 1d12h, jobs: "
      "null}}\n"
      "retention: {age: 7d, jobs: 9, folders: delete}\n",
      "q.yaml");
  ASSERT_TRUE(queues.ok()) << queues.status();
  constexpr int64_t kHourMs = 3'600'000;
  EXPECT_EQ((*queues)[0].retention.age_ms, 7 * 24 * kHourMs);
  EXPECT_EQ((*queues)[0].retention.jobs, 500U);
  EXPECT_EQ((*queues)[0].retention.folders, Retention::Folders::kCheckpoints);
  EXPECT_EQ((*queues)[1].retention.age_ms, 36 * kHourMs);
  EXPECT_EQ((*queues)[1].retention.jobs, 0U);
  EXPECT_EQ((*queues)[1].retention.folders, Retention::Folders::kDelete);
  EXPECT_FALSE(parse_queues("queues: {a: {}}", "q.yaml")->front().retention.age_ms.has_value());
}

TEST(QueueFile, WhatIsWrongIsNamedWithItsLine) {
  for (const auto& [yaml, part] : std::vector<std::pair<std::string, std::string>>{
           {"[]", "q.yaml:1: a mapping \"queues\""},
           {"queues: {}", "a mapping \"queues\""},
           {"queues:\n  a: {weihgt: 1}", "q.yaml:2: queues.a has no key \"weihgt\"; there are weight"},
           {"queues:\n  a: {weight: -1}", "queues.a.weight: \"-1\" is not a number between"},
           {"queues:\n  a: {weight: nan}", "queues.a.weight: \"nan\""},
           {"queues:\n  a: {limit_slots: 0}", "at least 1, or null"},
           {"queues:\n  a: {guaranteed_slots: 5, limit_slots: 4}", "guaranteed_slots 5 is more than limit_slots 4"},
           {"queues:\n  A_b: {}", "\"A_b\" is not a name"},
           {"queues:\n  a: {}\n  a: {}", "a is there twice"},
           {"queues: {a: [", "q.yaml:"},
           {"queues: {a: {}}\nretantion: {}",
            "q.yaml:2: there is no key \"retantion\" here; there are queues, retention"},
           {"queues: {a: {retention: {age: 0}}}", "queues.a.retention.age: \"0\" is not a time of at least 1m"},
           {"queues: {a: {retention: {age: -3d}}}", "\"-3d\" is not a time"},
           {"queues: {a: {retention: {age: 30}}}", "\"30\" is not a time"},
           {"queues: {a: {retention: {jobs: 0}}}",
            "queues.a.retention.jobs: \"0\" is not a number of jobs of at least 1"},
           {"queues: {a: {}}\nretention: {folders: all}", "retention.folders: \"all\" is not one of keep"},
           {"queues: {a: {retention: {keep: 1}}}",
            "queues.a.retention has no key \"keep\"; there are age, jobs, folders"},
           {"queues: {a: {retention: 30d}}", "queues.a.retention: a mapping is expected"},
       }) {
    const absl::Status status = parse_queues(yaml, "q.yaml").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  }
}

}  // namespace
}  // namespace galleon::server
