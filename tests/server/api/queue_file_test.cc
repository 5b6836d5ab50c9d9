#include "server/api/queue_file.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace galleon::server {
namespace {

TEST(QueueFile, EveryKeyIsReadAndTheOthersKeepTheirDefaults) {
  const absl::StatusOr<QueueFile> file = parse_queues(
      "queues:\n  lab: {weight: 2.5, guaranteed_slots: 4, limit_slots: 16, project: science}\n  default:\n", "q.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  const std::vector<QueueConfig>* queues = &file->queues;
  ASSERT_EQ(queues->size(), 2U);
  EXPECT_EQ((*queues)[0].id, "lab");
  EXPECT_EQ((*queues)[0].weight, 2.5);
  EXPECT_EQ((*queues)[0].guaranteed, 4U);
  EXPECT_EQ((*queues)[0].limit, 16U);
  EXPECT_EQ((*queues)[0].project, "science");
  EXPECT_EQ((*queues)[1].weight, 1);
  EXPECT_EQ((*queues)[1].limit, 0U);
  EXPECT_EQ((*queues)[1].project, "default");
  EXPECT_EQ((*queues)[1].half_life_ms, 0);
  EXPECT_TRUE(file->projects.empty());
}

TEST(QueueFile, UsersTakeTurnsAndHaveLimits) {
  const absl::StatusOr<QueueFile> file = parse_queues(
      "queues:\n"
      "  lab: {half_life: 12h, fair_share: true, user_weights: {ann: 2}, users: {limit_slots: 8, limit_queued: 100}}\n"
      "  plain: {fair_share: true, users: {limit_slots: null}}\n"
      "  off: {fair_share: false}\n",
      "q.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  const QueueConfig& lab = file->queues[0];
  EXPECT_EQ(lab.half_life_ms, 12 * 3'600'000);
  EXPECT_EQ(lab.user_weight("ann"), 2);
  EXPECT_EQ(lab.user_weight("bob"), 1);
  EXPECT_EQ(lab.user_limit_slots, 8U);
  EXPECT_EQ(lab.user_limit_queued, 100U);
  EXPECT_EQ(file->queues[1].half_life_ms, 24 * 3'600'000);
  EXPECT_EQ(file->queues[1].user_limit_slots, 0U);
  EXPECT_EQ(file->queues[2].half_life_ms, 0);
}

TEST(QueueFile, ProjectsHaveQuotas) {
  const absl::StatusOr<QueueFile> file = parse_queues(
      "queues: {default: {}}\n"
      "projects:\n"
      "  lab: {limit_queued: 10, limit_submits_per_minute: 5, limit_logs: 1GiB, limit_folders: 2GiB,\n"
      "        users: {limit_queued: 3, limit_logs: null}}\n"
      "  '*': {limit_folders: 1TiB}\n",
      "q.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  const QuotaLimits all{10, 5, uint64_t{1} << 30, uint64_t{2} << 30};
  EXPECT_EQ(quota_of(file->projects, "lab").all, all);
  EXPECT_EQ(quota_of(file->projects, "lab").each_user, (QuotaLimits{3, 0, 0, 0}));
  EXPECT_EQ(quota_of(file->projects, "arts").all.folder_bytes, uint64_t{1} << 40);
}

TEST(QueueFile, WhatIsKeptOfEndedJobsIsSaidForAllAndForEach) {
  const absl::StatusOr<QueueFile> file = parse_queues(
      "queues:\n  lab: {retention: {jobs: 500, folders: checkpoints}}\n  nightly: {retention: {age: 1d12h, jobs: "
      "null}}\n"
      "retention: {age: 7d, jobs: 9, folders: delete}\n",
      "q.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  const std::vector<QueueConfig>& queues = file->queues;
  constexpr int64_t kHourMs = 3'600'000;
  EXPECT_EQ(queues[0].retention.age_ms, 7 * 24 * kHourMs);
  EXPECT_EQ(queues[0].retention.jobs, 500U);
  EXPECT_EQ(queues[0].retention.folders, Retention::Folders::kCheckpoints);
  EXPECT_EQ(queues[1].retention.age_ms, 36 * kHourMs);
  EXPECT_EQ(queues[1].retention.jobs, 0U);
  EXPECT_EQ(queues[1].retention.folders, Retention::Folders::kDelete);
  EXPECT_FALSE(parse_queues("queues: {a: {}}", "q.yaml")->queues.front().retention.age_ms.has_value());
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
            "q.yaml:2: there is no key \"retantion\"; there are queues, projects, retention"},
           {"queues: {a: {retention: {age: 0}}}", "queues.a.retention.age: \"0\" is not a time of at least 1m"},
           {"queues: {a: {retention: {age: -3d}}}", "\"-3d\" is not a time"},
           {"queues: {a: {retention: {age: 30}}}", "\"30\" is not a time"},
           {"queues: {a: {retention: {jobs: 0}}}",
            "queues.a.retention.jobs: \"0\" is not a number of jobs of at least 1"},
           {"queues: {a: {}}\nretention: {folders: all}", "retention.folders: \"all\" is not one of keep"},
           {"queues: {a: {retention: {keep: 1}}}",
            "queues.a.retention has no key \"keep\"; there are age, jobs, folders"},
           {"queues: {a: {retention: 30d}}", "queues.a.retention: a mapping is expected"},
           {"queues: {a: {}}\nproject: {}",
            "q.yaml:2: there is no key \"project\"; there are queues, projects, retention"},
           {"queues:\n  a: {fair_share: yes}", "queues.a.fair_share: \"yes\" is not true or false"},
           {"queues:\n  a: {half_life: 1h}", "q.yaml:2: queues.a.half_life: needs fair_share: true"},
           {"queues:\n  a: {fair_share: false, user_weights: {ann: 2}}", "user_weights: needs fair_share: true"},
           {"queues:\n  a: {fair_share: true, half_life: 5s}", "\"5s\" is not a time between 1m and 366d"},
           {"queues:\n  a: {users: {slots: 1}}", "there is no key \"slots\"; there are limit_slots, limit_queued"},
           {"queues:\n  a: {users: {limit_slots: 0}}", "at least 1, or null"},
           {"queues:\n  a: {fair_share: true, user_weights: {ann: 0}}", "user_weights: ann: \"0\" is not a number"},
           {"queues: {a: {}}\nprojects:\n  lab: {limit_bytes: 1}", "q.yaml:3: projects.lab has no key \"limit_bytes\""},
           {"queues: {a: {}}\nprojects: {lab: {limit_logs: lots}}", "projects.lab.limit_logs: \"lots\" is not a size"},
           {"queues: {a: {}}\nprojects: {lab: {users: {limit_queued: 0}}}", "projects.lab.users.limit_queued: \"0\""},
           {"queues: {a: {}}\nprojects: {Lab: {}}", "\"Lab\" is not a name"},
           {"queues: {a: {}}\nprojects: {lab: {}, lab: {}}", "projects.lab is there twice"},
       }) {
    const absl::Status status = parse_queues(yaml, "q.yaml").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  }
}

}  // namespace
}  // namespace galleon::server
