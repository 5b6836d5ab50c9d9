// A sweep with real trainers: so many at a time, the worse half ends, the scheduler is killed in between.
#include "tests/e2e/service.h"

namespace galleon {
namespace {

TEST(EndToEnd, ASweepEndsItsWorseHalfWhateverIsKilledMeanwhile) {
  Service service;
  service.start_scheduler();
  service.start_worker("north", 2);
  const std::string file = service.job_file("tide", 200, 1);
  const std::vector<std::string> submit = {"submit",
                                           file,
                                           "--sweep",
                                           "optimizer.learning_rate=0.0000001,0.01,0.02",
                                           "--sweep",
                                           "model.seed=1,2",
                                           "--max-running",
                                           "2",
                                           "--stop-worst-after",
                                           "50,100",
                                           "--request-id",
                                           "tide-once",
                                           "-o",
                                           "json"};
  const CommandResult made = service.galleon(submit);
  ASSERT_EQ(made.exit.code, 0) << made.err;
  const Json answer = Json::parse(made.out, nullptr, false);
  const std::string group = answer["group"].value("group_id", "");
  ASSERT_EQ(answer["jobs"].size(), 6U);
  const std::string first = answer["jobs"][0].value("job_id", "");
  EXPECT_EQ(first, "tide-learning-rate-0-0000001-seed-1-1");
  EXPECT_TRUE(answer["group"].value("by_validation", false));
  ASSERT_TRUE(eventually([&] { return service.get(first).value("attempts", 0) >= 1; }));
  service.kill("scheduler");
  service.start_scheduler();
  // A submit whose answer was lost makes nothing again.
  EXPECT_EQ(Json::parse(service.galleon(submit).out, nullptr, false)["group"].value("group_id", ""), group);

  size_t most = 0;
  bool killed = false;
  const bool ended = eventually([&] {
    service.remember_trainers();
    const Json whole = service.get(group);
    size_t running = 0;
    for (const Json& job : whole["jobs"]) running += job.value("state", "") == "RUNNING";
    most = std::max(most, running);
    const Json& rungs = whole["group"]["rungs"];
    if (!killed && rungs.is_array() && !rungs.empty() && rungs[0].value("decided", false)) {
      killed = true;
      service.kill("scheduler");
      service.start_scheduler();
    }
    return std::all_of(whole["jobs"].begin(), whole["jobs"].end(), [](const Json& job) {
      const std::string state = job.value("state", "");
      return state == "SUCCEEDED" || state == "FAILED" || state == "CANCELLED";
    });
  });
  ASSERT_TRUE(ended) << service.galleon({"get", group}).out;
  EXPECT_TRUE(killed);
  EXPECT_EQ(most, 2U);
  EXPECT_EQ(service.galleon({"wait", group}).exit.code, 0);
  const Json whole = service.get(group);
  const Json& rungs = whole["group"]["rungs"];
  ASSERT_EQ(rungs[0]["ranking"].size(), 6U);
  EXPECT_EQ(rungs[0].value("kept", 0), 3);
  ASSERT_EQ(rungs[1]["ranking"].size(), 3U);
  EXPECT_EQ(rungs[1].value("kept", 0), 2);
  // What hardly learns is worst, and the places are those of the losses at that very step.
  for (int place = 4; place < 6; ++place)
    EXPECT_TRUE(absl::StrContains(rungs[0]["ranking"][place].get<std::string>(), "0-0000001"));
  std::map<std::string, double> losses;
  int succeeded = 0;
  for (const Json& job : whole["jobs"]) {
    succeeded += job.value("state", "") == "SUCCEEDED";
    ASSERT_FALSE(job["rungs"].empty()) << job;
    EXPECT_EQ(job["rungs"][0].value("step", ""), "50");
    losses[job.value("job_id", "")] = job["rungs"][0].value("loss", 0.0);
  }
  EXPECT_EQ(succeeded, 2);
  for (size_t place = 1; place < 6; ++place) {
    EXPECT_LE(losses[rungs[0]["ranking"][place - 1].get<std::string>()],
              losses[rungs[0]["ranking"][place].get<std::string>()]);
  }
  const CommandResult table = service.galleon({"compare", group, "--plot", service.folder() + "/curves.svg"});
  EXPECT_EQ(table.exit.code, 0) << table.err;
  EXPECT_TRUE(absl::StrContains(table.out, "optimizer.learning_rate  model.seed  STATE")) << table.out;
  EXPECT_TRUE(absl::StrContains(table.out, "CANCELLED at 50")) << table.out;
  EXPECT_TRUE(absl::StrContains(read_file(service.folder() + "/curves.svg").value_or(""), "<circle"));
}

}  // namespace
}  // namespace galleon
