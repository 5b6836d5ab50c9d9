// The whole path with real processes, and what a stranger does wrong.
#include "tests/e2e/service.h"

namespace galleon {
namespace {

// The value of an instant query, or nullopt when it has no data.
std::optional<double> query(const std::string& address, const std::string& expression) {
  absl::StatusOr<CommandResult> result = run_command(
      {"/usr/bin/curl", "-sG", "--data-urlencode", "query=" + expression, "http://" + address + "/api/v1/query"},
      kPatience);
  if (!result.ok() || result->exit.code != 0) return std::nullopt;
  const Json json = Json::parse(result->out, nullptr, false);
  if (!json.is_object() || json.value("status", "") != "success" || json["data"]["result"].empty()) return std::nullopt;
  return std::stod(json["data"]["result"][0]["value"][1].get<std::string>());
}

TEST(EndToEnd, AJobIsWatchedByARealPrometheusAndItsCheckpointGoesOnWithoutTheService) {
  if (!std::filesystem::exists("/usr/bin/prometheus") || !std::filesystem::exists("/usr/bin/curl"))
    GTEST_SKIP() << "prometheus or curl is not installed";
  Service service;
  service.start_scheduler();
  service.start_worker("north", 2);
  const std::string config =
      absl::StrCat("scrape_configs:\n- job_name: galleon\n  scrape_interval: 500ms\n  static_configs:\n  - targets: ['",
                   service.metrics_address("scheduler"), "', '", service.metrics_address("north"), "']\n");
  ASSERT_TRUE(write_file_atomically(service.folder() + "/prometheus.yml", config).ok());
  // The kernel picks a port; Prometheus tells it in its log.
  service.start("prometheus", {"/usr/bin/prometheus", "--config.file=" + service.folder() + "/prometheus.yml",
                               "--storage.tsdb.path=" + service.folder() + "/tsdb", "--web.listen-address=127.0.0.1:0",
                               "--log.format=json"});
  std::string prometheus;
  EXPECT_TRUE(eventually([&] {
    absl::StatusOr<std::string> log = read_file(service.folder() + "/prometheus.log");
    for (absl::string_view line : absl::StrSplit(log.ok() ? *log : "", '\n', absl::SkipEmpty())) {
      const Json json = Json::parse(line.begin(), line.end(), nullptr, false);
      if (json.is_object() && json.value("msg", "") == "Listening on") prometheus = json.value("address", "");
    }
    return !prometheus.empty();
  }));
  // Prometheus takes some seconds to begin with its targets.
  ASSERT_TRUE(eventually([&] { return query(prometheus, "sum(up)") == 2.0; }));

  const std::string file = service.job_file("voyage", 1500, 2);
  const std::string job = service.submit(file);
  ASSERT_TRUE(service.await_step(job, 20));
  std::optional<double> loss;
  std::optional<double> saved;
  EXPECT_TRUE(eventually([&] {
    loss = query(prometheus, absl::StrCat("galleon_job_loss{job_id=\"", job, "\"}"));
    saved = query(prometheus, absl::StrCat("galleon_job_optimizer_saved_ratio{job_id=\"", job, "\"}"));
    return loss.has_value() && saved.has_value();
  }));
  ASSERT_TRUE(loss.has_value());
  ASSERT_TRUE(saved.has_value());
  EXPECT_GT(*loss, 0.1);
  EXPECT_LT(*loss, 6.0);
  EXPECT_NEAR(*saved, service.get(job)["plan"]["saved_ratio"].get<double>(), 1e-9);
  for (const char* metric :
       {"galleon_job_step", "galleon_job_tokens_total", "galleon_job_tokens_per_second", "galleon_job_learning_rate",
        "galleon_job_gradient_norm", "galleon_job_memory_bytes", "galleon_job_memory_peak_bytes",
        "galleon_job_optimizer_full_rank_bytes", "galleon_job_subspace_refresh_seconds_total",
        "galleon_job_step_seconds_total", "galleon_job_data_wait_seconds_total", "galleon_job_subspace_overlap_ratio",
        "galleon_job_communication_bytes_total", "galleon_job_communication_dense_bytes_total", "galleon_job_info",
        "galleon_jobs", "galleon_slots", "galleon_journal_commit_seconds_count"}) {
    EXPECT_TRUE(query(prometheus, metric).has_value()) << metric;
  }
  ASSERT_EQ(service.galleon({"wait", job, "--timeout", "200"}).exit.code, 0);

  // What the service saved is what a local run goes on from, to the last bit.
  const Json record = service.get(job);
  EXPECT_EQ(record.value("state", ""), "SUCCEEDED");
  const std::string more = service.job_file("voyage", 1520, 2);
  absl::StatusOr<std::string> yaml = read_file(more);
  ASSERT_TRUE(write_file_atomically(more, absl::StrCat(*yaml).replace(yaml->find("  galore:"), 0,
                                                                      "  schedule: {steps: 1500, warmup_steps: 150}\n"))
                  .ok());
  const std::string output = service.folder() + "/local";
  ASSERT_TRUE(make_folders(output).ok());
  std::filesystem::copy(record.value("folder", "") + "/checkpoints", output + "/checkpoints",
                        std::filesystem::copy_options::recursive);
  const CommandResult train = service.galleon({"train", more, "--output", output});
  EXPECT_EQ(train.exit.code, 0) << train.err;
  EXPECT_THAT(train.out, testing::HasSubstr("continuing from step 1500"));
  EXPECT_EQ(Service::losses(output + "/metrics.jsonl").size(), 20U);
  const CommandResult generated = service.galleon(
      {"generate", "--model", output + "/checkpoints/step-00001520", "--prompt", "the sea", "--tokens", "8"});
  EXPECT_EQ(generated.exit.code, 0) << generated.err;
  EXPECT_TRUE(absl::StartsWith(generated.out, "the sea")) << generated.out;
}

TEST(EndToEnd, CancelListLogsAndExitCodes) {
  Service service;
  service.start_scheduler();
  service.start_worker("north");
  const std::string job = service.submit(service.job_file("long", 100000, 1));
  const std::string waiting = service.submit(service.job_file("second", 10, 1));
  ASSERT_TRUE(service.await_step(job, 3));
  EXPECT_THAT(service.get(waiting).value("message", ""), testing::HasSubstr("position 1 of 1"));
  EXPECT_THAT(service.galleon({"list"}).out,
              testing::AllOf(testing::HasSubstr(job), testing::HasSubstr("QUEUED"), testing::HasSubstr("RUNNING")));
  EXPECT_EQ(service.galleon({"wait", job, "--timeout", "0.5"}).exit.code, 3);
  EXPECT_EQ(service.galleon({"cancel", job}).exit.code, 0);
  EXPECT_EQ(service.galleon({"wait", job, "--timeout", "60"}).exit.code, 2);
  EXPECT_EQ(service.galleon({"wait", waiting, "--timeout", "60"}).exit.code, 0);
  EXPECT_THAT(service.galleon({"logs", waiting}).out,
              testing::AllOf(testing::HasSubstr("step 1/10"), testing::HasSubstr("all 10 steps are done")));
  EXPECT_EQ(service.galleon({"cancel", waiting}).exit.code, 1);
}

TEST(EndToEnd, BadInputIsRefusedInOneSentenceAndNothingIsLost) {
  Service service;
  service.start_scheduler();
  service.start_worker("north");
  auto error = [&](const std::vector<std::string>& arguments) {
    const CommandResult result = service.galleon(arguments);
    EXPECT_NE(result.exit.code, 0);
    return result.err;
  };
  using testing::HasSubstr;
  EXPECT_THAT(error({"submit", service.job_file("typo", 10, 1, "checkpoints: {every: 2}\n")}),
              HasSubstr("checkpoints"));
  EXPECT_THAT(error({"submit", service.folder() + "/none.yaml"}), HasSubstr("none.yaml"));
  EXPECT_THAT(error({"get", "nobody-9"}), HasSubstr("nobody-9"));
  const std::string missing = service.job_file("missing", 10, 1);
  absl::StatusOr<std::string> yaml = read_file(missing);
  ASSERT_TRUE(
      write_file_atomically(missing, absl::StrCat(*yaml).replace(yaml->find("[inputs/text.txt]"), 17, "[gone-*.txt]"))
          .ok());
  EXPECT_THAT(error({"submit", missing}), HasSubstr("data.train: no file matches"));
  EXPECT_EQ(Json::parse(service.galleon({"list", "-o", "json"}).out).size(), 0U);

  // A path outside the worker's roots may be allowed elsewhere; where there is no other worker, three times fail the
  // job, by name.
  const std::string outside = service.job_file("outside", 10, 1);
  yaml = read_file(outside);
  ASSERT_TRUE(write_file_atomically(outside, absl::StrCat(*yaml).replace(yaml->find("[inputs/text.txt]"), 17,
                                                                         "[/usr/share/common-licenses/GPL-3]"))
                  .ok());
  const std::string job = service.submit(outside);
  const CommandResult wait = service.galleon({"wait", job, "--timeout", "60"});
  EXPECT_EQ(wait.exit.code, 1);
  EXPECT_THAT(wait.out, HasSubstr("/usr/share/common-licenses"));
  EXPECT_EQ(service.get(job).value("attempts", 0), 3);

  // A second daemon of a name that is taken, and a second scheduler on one folder, end with the reason.
  absl::StatusOr<CommandResult> second =
      run_command({program("galleon-worker"), "--server", service.server(), "--name", "north", "--data",
                   service.folder() + "/other", "--slots", "1", "--allow", service.inputs(), "--metrics", "127.0.0.1:0",
                   "--ready-file", service.folder() + "/x.json"},
                  kPatience);
  ASSERT_TRUE(second.ok() && !second->timed_out);
  EXPECT_NE(second->exit.code, 0);
  EXPECT_THAT(second->err, HasSubstr("north"));
  second = run_command({program("galleon-scheduler"), "--data", service.folder() + "/scheduler", "--listen",
                        "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--ready-file", service.folder() + "/y.json"},
                       kPatience);
  ASSERT_TRUE(second.ok() && !second->timed_out);
  EXPECT_NE(second->exit.code, 0);
}

TEST(EndToEnd, ADamagedJournalIsRefusedUntouched) {
  Service service;
  service.start_scheduler();
  ASSERT_FALSE(service.submit(service.job_file("kept", 10, 1)).empty());
  EXPECT_EQ(service.stop("scheduler"), 0);
  std::string database;
  for (const auto& entry : std::filesystem::directory_iterator(service.folder() + "/scheduler")) {
    absl::StatusOr<std::string> start =
        entry.is_regular_file() ? read_file(entry.path().string()) : absl::StatusOr<std::string>("");
    if (start.ok() && absl::StartsWith(*start, "SQLite format 3")) database = entry.path().string();
  }
  ASSERT_FALSE(database.empty());
  absl::StatusOr<std::string> content = read_file(database);
  std::string damaged = *content;
  for (size_t i = 200; i < damaged.size(); i += 3) damaged[i] = 'x';
  ASSERT_TRUE(write_file_atomically(database, damaged).ok());
  absl::StatusOr<CommandResult> result =
      run_command({program("galleon-scheduler"), "--data", service.folder() + "/scheduler", "--listen", "127.0.0.1:0",
                   "--metrics", "127.0.0.1:0", "--ready-file", service.folder() + "/z.json"},
                  kPatience);
  ASSERT_TRUE(result.ok() && !result->timed_out);
  EXPECT_NE(result->exit.code, 0);
  EXPECT_THAT(result->err, testing::HasSubstr(database));
  EXPECT_EQ(*read_file(database), damaged);
}

}  // namespace
}  // namespace galleon
