#include <arpa/inet.h>
#include <sys/socket.h>

#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "common/net/listen_address.h"
#include "server/store/sqlite_journal.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

class ServerItself : public ServerTest {
 protected:
  std::string http(const std::string& path) {
    const absl::StatusOr<ListenAddress> address = parse_listen_address(server_->metrics_address());
    FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(address->port);
    inet_pton(AF_INET, "127.0.0.1", &target.sin_addr);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&target), sizeof(target)), 0);
    EXPECT_TRUE(write_all(socket.get(), absl::StrCat("GET ", path, " HTTP/1.1\r\n\r\n")).ok());
    std::string all;
    char buffer[4096];
    for (ssize_t n; (n = ::recv(socket.get(), buffer, sizeof(buffer), 0)) > 0;)
      all.append(buffer, static_cast<size_t>(n));
    return all;
  }
};

TEST_F(ServerItself, MetricsCountJobsSlotsAttemptsAndCalls) {
  start();
  // A series that begins with its first event would hide that event from increase() and rate().
  const std::string before = http("/metrics");
  for (const char* line : {"galleon_queue_wait_seconds_count{queue=\"default\"} 0",
                           "galleon_attempt_duration_seconds_count{outcome=\"succeeded\"} 0"}) {
    EXPECT_TRUE(absl::StrContains(before, line)) << line;
  }
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a, 2).ok());
  const std::string id = submit(job_named("x"));
  train(a, 1);
  finish(a, v1::Finished::SUCCEEDED);
  const std::vector<std::string> lines = {"galleon_jobs{queue=\"default\",state=\"succeeded\"} 1",
                                          "galleon_jobs{queue=\"default\",state=\"running\"} 0",
                                          "galleon_slots{state=\"free\"} 2",
                                          "galleon_workers{state=\"ready\"} 1",
                                          "galleon_queue_wait_seconds_count{queue=\"default\"} 1",
                                          "galleon_attempt_duration_seconds_count{outcome=\"succeeded\"} 1",
                                          "galleon_grpc_requests_total{code=\"OK\",method=\"CreateJob\"} 1",
                                          "galleon_slots_pending{device=\"auto\",labels=\"\",queue=\"default\"} 0",
                                          "galleon_build_info{program=\"galleon-scheduler\",version=\"1\"} 1"};
  const auto missing = [&](const std::string& metrics) {
    std::vector<std::string> names;
    for (const std::string& line : lines) {
      if (!absl::StrContains(metrics, line)) names.push_back(line);
    }
    return names;
  };
  // Gauges follow within a second, while the worker is heard of.
  std::string metrics;
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(sync(a).ok());
    metrics = http("/metrics");
    return missing(metrics).empty();
  }));
  EXPECT_EQ(missing(metrics), std::vector<std::string>{}) << metrics;
  for (const char* name : {"galleon_decision_pass_seconds_count", "galleon_journal_commit_seconds_count",
                           "galleon_journal_batch_events_count"}) {
    EXPECT_TRUE(absl::StrContains(metrics, name)) << name;
  }
  EXPECT_TRUE(absl::StartsWith(http("/readyz"), "HTTP/1.1 200"));
}

TEST_F(ServerItself, ASecondSchedulerOnTheDataAndOpenAddressesAreRefused) {
  start();
  EXPECT_EQ(Server::start(options_).status().code(), absl::StatusCode::kAlreadyExists);
  ServerOptions open = options_;
  open.data = folder_ + "/other";
  open.listen = "0.0.0.0:0";
  EXPECT_EQ(Server::start(open).status().code(), absl::StatusCode::kFailedPrecondition);
  open.listen = server_->address();
  EXPECT_EQ(Server::start(open).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ServerItself, ManySubmitsAtOnceAreAllDurable) {
  start();
  submit(job_named("x"));
  constexpr int kThreads = 8;
  constexpr int kEach = 50;
  std::vector<std::thread> threads;
  std::vector<std::vector<std::string>> ids(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t, &ids] {
      for (int i = 0; i < kEach; ++i) ids[static_cast<size_t>(t)].push_back(submit(job_named("x")));
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop();
  start();
  std::set<std::string> all;
  for (const auto& part : ids) all.insert(part.begin(), part.end());
  EXPECT_EQ(all.size(), static_cast<size_t>(kThreads * kEach));
  for (const std::string& id : all) ASSERT_EQ(get(id).state(), v1::JobRecord::QUEUED);
}

TEST_F(ServerItself, ALongJournalIsReplacedByASnapshotAtTheNextStart) {
  start();
  submit(job_named("x"));
  stop();
  {
    // Workers that register again and again make a long journal of little meaning.
    absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(options_.data);
    ASSERT_TRUE(journal.ok());
    v1::JournalEvent event;
    event.mutable_worker_registered()->mutable_worker()->set_worker_id("w");
    ASSERT_TRUE((*journal)->append(std::vector<v1::JournalEvent>(12'000, event)).ok());
  }
  start();
  EXPECT_EQ(get("x-1").state(), v1::JobRecord::QUEUED);
  stop();
  absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(options_.data);
  ASSERT_TRUE(journal.ok());
  EXPECT_LT((*journal)->events_since_snapshot(), 10);
}

}  // namespace
}  // namespace galleon::server
