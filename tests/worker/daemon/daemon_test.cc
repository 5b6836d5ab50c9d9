#include <gmock/gmock.h>

#include <fstream>

#include "tests/common/base/notify_socket.h"
#include "tests/worker/daemon/daemon_fixture.h"

namespace galleon {
namespace {

TEST_F(DaemonTest, RegistersWhatItOffers) {
  start({"--label", "rack=r1", "--memory-per-slot", "1GiB"});
  ASSERT_EQ(scheduler_.registrations.size(), 1u);
  const v1::Worker& worker = scheduler_.registrations[0].worker();
  EXPECT_EQ(worker.worker_id(), "w1");
  EXPECT_EQ(worker.version(), GALLEON_VERSION);
  EXPECT_EQ(worker.slots(), 2u);
  ASSERT_EQ(worker.devices_size(), 2);
  EXPECT_EQ(worker.devices(1).kind(), "cpu");
  EXPECT_EQ(worker.devices(1).free_memory_bytes(), 1u << 30);
  EXPECT_TRUE(worker.devices(1).healthy());
  EXPECT_EQ(worker.labels().at("rack"), "r1");
  EXPECT_EQ(worker.incarnation().size(), 32u);
}

TEST_F(DaemonTest, AServiceManagerHearsThatItServesThatItsLoopTurnsAndThatItEnds) {
  const NotifySocket manager(absl::StrCat("@galleon-", random_hex(8)));
  environment_ = {{"NOTIFY_SOCKET", manager.name()}, {"WATCHDOG_USEC", "400000"}};
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(manager.next_state(), "READY=1\nSTATUS=looks for the scheduler at " + scheduler_.address() + "\n");
  EXPECT_EQ(manager.next_state(), "READY=1\nSTATUS=is registered at " + scheduler_.address() + "\n");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(manager.next(), "WATCHDOG=1\n");
  EXPECT_EQ(end(SIGTERM).code, 0);
  EXPECT_EQ(manager.next_state(), "STOPPING=1\n");
}

TEST_F(DaemonTest, TellsWhatItsTrainerComputesWith) {
  environment_.emplace_back("OPENBLAS_CORETYPE", "Prescott");
  trainer_ = GALLEON_BINARY_DIR "/galleon-trainer";
  if (!std::filesystem::exists(trainer_)) GTEST_SKIP() << "this build has no " << trainer_;
  ASSERT_NO_FATAL_FAILURE(start());
  const v1::ProcessorInfo& processor = scheduler_.registrations[0].worker().processor();
  EXPECT_FALSE(processor.model().empty());
  const std::string metrics = scrape(ready_file());
  EXPECT_THAT(metrics,
              testing::HasSubstr("galleon_worker_processor_info{worker=\"w1\",model=\"" + processor.model() + "\""));
  ASSERT_EQ(processor.libraries_size(), 2);
  EXPECT_EQ(processor.libraries(0).name(), "oneDNN");
  EXPECT_FALSE(processor.libraries(0).too_little());
  EXPECT_EQ(processor.libraries(1).name(), "OpenBLAS");
  if (processor.instruction_set() == "baseline") return;
  EXPECT_TRUE(processor.libraries(1).too_little());
  EXPECT_THAT(metrics,
              testing::ContainsRegex("galleon_worker_library_fits.worker=.w1.,library=.OpenBLAS.[^}]*Prescott.* 0\n"));
}

TEST_F(DaemonTest, RefusesToServeWithATrainerThatDoesNotRunHere) {
  trainer_ = folder_ + "/trainer";
  std::ofstream(trainer_) << "#!/bin/sh\necho libdnnl.so.2: cannot open shared object file >&2\nexit 127\n";
  std::filesystem::permissions(trainer_, std::filesystem::perms::owner_all);
  const absl::StatusOr<CommandResult> said = run_command(command(), kPatience);
  ASSERT_TRUE(said.ok());
  EXPECT_EQ(said->exit.code, 1);
  EXPECT_THAT(said->err, testing::HasSubstr(trainer_ + " does not run here: libdnnl.so.2: cannot open"));
}

TEST_F(DaemonTest, RunsAnAssignmentToItsEndAndShipsItsLog) {
  start();
  scheduler_.assign(assignment("a", "stage train; log 2000; step 7; finish"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  const v1::RankReport report = scheduler_.report("a.1.0");
  EXPECT_EQ(report.exit_code(), 0);
  EXPECT_EQ(report.exit_signal(), 0);
  EXPECT_FALSE(report.signalled_by_daemon());
  EXPECT_EQ(report.finished().outcome(), v1::Finished::SUCCEEDED);
  EXPECT_EQ(report.progress().step(), 7u);
  EXPECT_EQ(report.stage().name(), "train");
  EXPECT_EQ(report.id().epoch(), 5u);
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["a.1.0"]; }));
  EXPECT_EQ(scheduler_.log("a.1.0"), lines(2000));
  // Held, and its slot with it, until the scheduler does not list it any more.
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/data/attempts/a.1.0"));
  scheduler_.unlist("a.1.0");
  EXPECT_TRUE(eventually([this] { return !std::filesystem::exists(folder_ + "/data/attempts/a.1.0"); }));
}

TEST_F(DaemonTest, CodesAndSignalsAreReported) {
  start();
  scheduler_.assign(assignment("code", "log 1; exit 3"));
  scheduler_.assign(assignment("signal", "log 1; raise 11"));
  ASSERT_TRUE(scheduler_.wait_for_phase("code.1.0", kExited));
  ASSERT_TRUE(scheduler_.wait_for_phase("signal.1.0", kExited));
  EXPECT_EQ(scheduler_.report("code.1.0").exit_code(), 3);
  EXPECT_EQ(scheduler_.report("code.1.0").last_lines(), "line 0\n");
  EXPECT_EQ(scheduler_.report("code.1.0").log_bytes(), 7u);
  EXPECT_EQ(scheduler_.report("signal.1.0").exit_signal(), SIGSEGV);
  EXPECT_FALSE(scheduler_.report("signal.1.0").signalled_by_daemon());
}

TEST_F(DaemonTest, ChildrenOfATrainerEndWithIt) {
  start();
  scheduler_.assign(assignment("a", absl::StrCat("child; ", wait_for_file("counted"), "; exit 0")));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  const pid_t leader = group().pid;
  EXPECT_TRUE(eventually([leader] { return process_group_use(leader).processes == 3; }));
  allow("counted");
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_EQ(process_group_use(leader).processes, 0);
}

TEST_F(DaemonTest, TrainersOutliveAKilledDaemonAndTheirLogsAreWholeAndNotDoubled) {
  start();
  scheduler_.assign(assignment("a", "rendezvous; chatter 1500; step 9; finish"));
  ASSERT_TRUE(scheduler_.wait_for([&] { return !scheduler_.reports["a.1.0"].rendezvous_payload().empty(); }));
  EXPECT_EQ(scheduler_.report("a.1.0").rendezvous_payload(), "address of rank 0");
  const ProcessId leader = group();
  end(SIGKILL);
  EXPECT_TRUE(process_alive(leader));
  start();
  EXPECT_EQ(group(), leader);
  // What the first daemon had acknowledged, the second one still reports.
  {
    const std::lock_guard<std::mutex> lock(scheduler_.mutex);
    scheduler_.reports.clear();
  }
  ASSERT_TRUE(scheduler_.wait_for([&] { return !scheduler_.reports["a.1.0"].rendezvous_payload().empty(); }));
  scheduler_.update("a.1.0", [](v1::Assignment& a) {
    a.clear_job();
    a.add_rendezvous_payloads("address of rank 0");
  });
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs["a.1.0"].size() > 100; }));
  end(SIGKILL);
  start();
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_EQ(scheduler_.report("a.1.0").finished().outcome(), v1::Finished::SUCCEEDED);
  EXPECT_EQ(scheduler_.report("a.1.0").progress().step(), 9u);
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["a.1.0"]; }));
  const std::string log = scheduler_.log("a.1.0");
  const int count = static_cast<int>(std::count(log.begin(), log.end(), '\n')) - 1;
  EXPECT_GT(count, 100);
  EXPECT_EQ(log, absl::StrCat("met 1 ranks\n", lines(count)));
  EXPECT_TRUE(scheduler_.doubled.empty());
}

TEST_F(DaemonTest, AnEndWhileNoDaemonWasThereIsReportedWithItsCode) {
  start();
  scheduler_.assign(assignment("code", wait_for_file("alone") + "; log 5; exit 7"));
  scheduler_.assign(assignment("signal", wait_for_file("alone") + "; log 5; raise 9"));
  ASSERT_TRUE(scheduler_.wait_for_phase("code.1.0", kRunning));
  ASSERT_TRUE(scheduler_.wait_for_phase("signal.1.0", kRunning));
  ASSERT_TRUE(eventually([this] { return groups().size() == 2; }));
  const std::vector<ProcessId> alone = groups();
  end(SIGKILL);
  allow("alone");
  for (const ProcessId& leader : alone) EXPECT_TRUE(eventually([&] { return !process_alive(leader); }));
  start();
  ASSERT_TRUE(scheduler_.wait_for_phase("code.1.0", kExited));
  ASSERT_TRUE(scheduler_.wait_for_phase("signal.1.0", kExited));
  EXPECT_EQ(scheduler_.report("code.1.0").exit_code(), 7);
  EXPECT_EQ(scheduler_.report("signal.1.0").exit_signal(), SIGKILL);
  EXPECT_FALSE(scheduler_.report("signal.1.0").signalled_by_daemon());
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["code.1.0"]; }));
  EXPECT_EQ(scheduler_.log("code.1.0"), lines(5));
}

TEST_F(DaemonTest, RanksMeetThroughTheirReports) {
  start();
  for (const uint32_t rank : {0u, 1u}) scheduler_.assign(assignment("a", "rendezvous; finish", rank, 2));
  ASSERT_TRUE(scheduler_.wait_for([&] { return !scheduler_.reports["a.1.1"].rendezvous_payload().empty(); }));
  for (const char* name : {"a.1.0", "a.1.1"}) {
    scheduler_.update(name, [](v1::Assignment& a) {
      a.add_rendezvous_payloads("address of rank 0");
      a.add_rendezvous_payloads("address of rank 1");
    });
  }
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["a.1.1"]; }));
  EXPECT_EQ(scheduler_.log("a.1.1"), "met 2 ranks\n");
}

TEST_F(DaemonTest, ACheckpointIsPublishedOnceTheSchedulerCanBeReached) {
  scheduler_.publish_unavailable = 2;
  start();
  scheduler_.assign(assignment("a", "checkpoint 30; finish"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  ASSERT_EQ(scheduler_.published.size(), 1u);
  EXPECT_EQ(scheduler_.published[0].step(), 30u);
  EXPECT_EQ(scheduler_.published[0].folder(), folder_ + "/jobs/a/checkpoints/step-30");
  EXPECT_EQ(scheduler_.published[0].id().epoch(), 5u);
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["a.1.0"]; }));
  EXPECT_EQ(scheduler_.log("a.1.0"), "published 30\n");
}

TEST_F(DaemonTest, ACheckpointThatWaitsIsPublishedByTheNextDaemon) {
  scheduler_.publish_unavailable = 1000000;
  start();
  scheduler_.assign(assignment("a", "checkpoint 30; finish"));
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.publish_unavailable < 1000000; }));
  end(SIGKILL);
  {
    const std::lock_guard<std::mutex> lock(scheduler_.mutex);
    scheduler_.publish_unavailable = 0;
  }
  start();
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["a.1.0"]; }));
  EXPECT_EQ(scheduler_.log("a.1.0"), "published 30\n");
}

TEST_F(DaemonTest, ACheckpointOfAnOldEpochIsRefusedToTheTrainer) {
  scheduler_.publish_status = grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "the epoch is over");
  start();
  scheduler_.assign(assignment("a", "checkpoint 30; exit 1"));
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["a.1.0"]; }));
  EXPECT_EQ(scheduler_.log("a.1.0"), "refused 30: the epoch is over\n");
}

TEST_F(DaemonTest, TrainersAreKilledWhenTheLeaseEndsUnrenewed) {
  scheduler_.lease_milliseconds = 1200;
  start();
  scheduler_.assign(assignment("a", "ignore-lease; child; sleep 100000"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  const ProcessId leader = group();
  // Renewed, it lives on well beyond one lease.
  absl::SleepFor(absl::Milliseconds(2000));
  EXPECT_TRUE(process_alive(leader));
  scheduler_.stop();
  const absl::Time lost = absl::Now();
  EXPECT_TRUE(eventually([&] { return process_group_use(leader.pid).processes == 0; }));
  EXPECT_LT(absl::Now() - lost, absl::Seconds(60)) << "by themselves they end after 100 s";
  scheduler_.start();
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_TRUE(scheduler_.report("a.1.0").signalled_by_daemon());
  EXPECT_EQ(scheduler_.report("a.1.0").finished().outcome(), v1::Finished::OUTCOME_UNSPECIFIED);
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["a.1.0"]; }));
  EXPECT_NE(scheduler_.log("a.1.0").find("the lease ran out"), std::string::npos);
}

TEST_F(DaemonTest, ADaemonThatSleptThroughItsLeaseHasNoEffectWhenItWakes) {
  scheduler_.lease_milliseconds = 1000;
  start();
  scheduler_.assign(
      assignment("a", absl::StrCat("ignore-lease; ", wait_for_file("asleep"), "; checkpoint 10; sleep 100000")));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  const ProcessId leader = group();
  ::kill(daemon_->pid, SIGSTOP);
  allow("asleep");
  absl::SleepFor(absl::Milliseconds(2000));
  EXPECT_TRUE(process_alive(leader));
  ::kill(daemon_->pid, SIGCONT);
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_TRUE(scheduler_.report("a.1.0").signalled_by_daemon());
  EXPECT_TRUE(scheduler_.published.empty());
  EXPECT_EQ(process_group_use(leader.pid).processes, 0);
}

TEST_F(DaemonTest, ATrainerWhoseDaemonIsAwayForLongIsCountedAsEndedByItsWorker) {
  scheduler_.lease_milliseconds = 700;
  start();
  scheduler_.assign(assignment("a", "sleep 100000"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  end(SIGKILL);
  absl::SleepFor(absl::Milliseconds(1500));
  start();
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_EQ(scheduler_.report("a.1.0").exit_code(), 75);
  EXPECT_TRUE(scheduler_.report("a.1.0").signalled_by_daemon());
}

TEST_F(DaemonTest, ASchedulerThatRestartsFindsItsTrainersRunning) {
  start();
  scheduler_.assign(assignment("a", "chatter 1500; finish"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  const ProcessId leader = group();
  scheduler_.stop();
  absl::SleepFor(absl::Milliseconds(500));
  scheduler_.start();
  EXPECT_TRUE(process_alive(leader));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["a.1.0"]; }));
  EXPECT_EQ(scheduler_.report("a.1.0").finished().outcome(), v1::Finished::SUCCEEDED);
  const std::string log = scheduler_.log("a.1.0");
  EXPECT_EQ(log, lines(static_cast<int>(std::count(log.begin(), log.end(), '\n'))));
}

TEST_F(DaemonTest, AForgottenWorkerRegistersAgainAndKeepsItsRanks) {
  start();
  scheduler_.assign(assignment("a", "sleep 1500; finish"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  {
    const std::lock_guard<std::mutex> lock(scheduler_.mutex);
    scheduler_.next_sync_status = grpc::Status(grpc::StatusCode::NOT_FOUND, "who are you?");
  }
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.registrations.size() == 2; }));
  EXPECT_EQ(scheduler_.registrations[0].worker().incarnation(), scheduler_.registrations[1].worker().incarnation());
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_EQ(scheduler_.report("a.1.0").finished().outcome(), v1::Finished::SUCCEEDED);
}

TEST_F(DaemonTest, AStopGivesTheTrainerItsGrace) {
  start();
  scheduler_.assign(assignment("a", "wait-stop"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  scheduler_.update("a.1.0", [](v1::Assignment& a) {
    a.set_stop(true);
    a.set_stop_grace_milliseconds(10000);
    a.set_stop_reason("a job of higher priority");
  });
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_EQ(scheduler_.report("a.1.0").finished().outcome(), v1::Finished::STOPPED);
  EXPECT_FALSE(scheduler_.report("a.1.0").signalled_by_daemon());
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.logs_complete["a.1.0"]; }));
  EXPECT_EQ(scheduler_.log("a.1.0"), "stopping: a job of higher priority\n");
}

TEST_F(DaemonTest, ATrainerThatIgnoresAStopIsKilledAfterItsGrace) {
  start();
  scheduler_.assign(assignment("a", "sleep 100000"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  scheduler_.update("a.1.0", [](v1::Assignment& a) {
    a.set_stop(true);
    a.set_stop_grace_milliseconds(200);
  });
  const absl::Time asked = absl::Now();
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_GT(absl::Now() - asked, absl::Milliseconds(200));
  EXPECT_TRUE(scheduler_.report("a.1.0").signalled_by_daemon());
  EXPECT_EQ(scheduler_.report("a.1.0").exit_signal(), SIGKILL);
}

TEST_F(DaemonTest, AStopWithoutGraceKillsAtOnce) {
  start();
  scheduler_.assign(assignment("a", "sleep 100000"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  scheduler_.update("a.1.0", [](v1::Assignment& a) { a.set_stop(true); });
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_TRUE(scheduler_.report("a.1.0").signalled_by_daemon());
}

TEST_F(DaemonTest, ARankThatIsNotListedIsEndedAndForgotten) {
  start();
  scheduler_.assign(assignment("a", "sleep 100000"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  const pid_t leader = group().pid;
  scheduler_.unlist("a.1.0");
  EXPECT_TRUE(eventually([this] { return !std::filesystem::exists(folder_ + "/data/attempts/a.1.0"); }));
  EXPECT_EQ(process_group_use(leader).processes, 0);
}

TEST_F(DaemonTest, PathsOutsideTheAllowedRootsAreRefused) {
  start();
  v1::Assignment outside = assignment("outside", "finish");
  outside.mutable_job()->mutable_data()->set_train(0, folder_ + "/outside/*.txt");
  std::filesystem::create_symlink(folder_ + "/outside/secret.txt", folder_ + "/inputs/link.txt");
  scheduler_.assign(outside);
  ASSERT_TRUE(scheduler_.wait_for_phase("outside.1.0", kExited));
  const v1::RankReport report = scheduler_.report("outside.1.0");
  EXPECT_EQ(report.finished().outcome(), v1::Finished::FAILED);
  // Another worker may be allowed to read it.
  EXPECT_FALSE(report.finished().permanent());
  EXPECT_EQ(report.finished().place_fault(), v1::PLACE_FAULT_DOUBTFUL);
  EXPECT_EQ(report.finished().message(),
            absl::StrCat("data.train: ", folder_, "/outside/ lies outside of what this worker may read: ", folder_,
                         "/inputs, ", folder_, "/jobs/outside; move it there or start the worker with --allow"));
  scheduler_.assign(assignment("link", "finish"));
  ASSERT_TRUE(scheduler_.wait_for_phase("link.1.0", kExited));
  EXPECT_NE(scheduler_.report("link.1.0").finished().message().find(folder_ + "/outside/secret.txt"),
            std::string::npos);
  EXPECT_TRUE(groups().empty());
}

TEST_F(DaemonTest, ATrainerThatSaysTooMuchDoesNotCostItsWorkerTheLease) {
  start();
  scheduler_.assign(assignment("long", "stage x; fail-at-length 6000000"));
  ASSERT_TRUE(scheduler_.wait_for_phase("long.1.0", kExited));
  const v1::RankReport report = scheduler_.report("long.1.0");
  EXPECT_LE(report.ByteSizeLong(), 32U << 10);
  EXPECT_EQ(report.finished().message().substr(0, 7), "begins ");
  EXPECT_EQ(report.finished().message().substr(report.finished().message().size() - 5), " ends");
  // Nor does it after a restart, and others go on.
  end(SIGKILL);
  start();
  scheduler_.assign(assignment("next", "finish"));
  ASSERT_TRUE(scheduler_.wait_for_phase("next.1.0", kExited));
}

TEST_F(DaemonTest, AMissingFolderOfJobsIsNoFaultOfTheJob) {
  scheduler_.jobs_folder = folder_ + "/not-mounted";
  start();
  scheduler_.assign(assignment("a", "finish"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_EQ(scheduler_.report("a.1.0").finished().outcome(), v1::Finished::FAILED);
  EXPECT_FALSE(scheduler_.report("a.1.0").finished().permanent());
  EXPECT_EQ(scheduler_.report("a.1.0").finished().place_fault(), v1::PLACE_FAULT_CERTAIN);
  EXPECT_NE(scheduler_.report("a.1.0").finished().message().find("not-mounted"), std::string::npos);
}

TEST_F(DaemonTest, ItTriesItselfAgainAndAgainAndTellsWhatItLacks) {
  start({"--probe-every", "1"});
  ASSERT_TRUE(scheduler_.wait_for([this] { return scheduler_.probe.number() > 0; }));
  EXPECT_EQ(scheduler_.probe.fault(), "");
  std::filesystem::rename(folder_ + "/jobs", folder_ + "/unmounted");
  EXPECT_TRUE(scheduler_.wait_for(
      [this] { return scheduler_.probe.fault().find("mount the same folder on both") != std::string::npos; }));
  std::filesystem::rename(folder_ + "/unmounted", folder_ + "/jobs");
  EXPECT_TRUE(scheduler_.wait_for([this] { return scheduler_.probe.fault().empty(); }));
}

TEST_F(DaemonTest, WhatIsNotOnThisMachineMayBeOnAnother) {
  start();
  v1::Assignment missing = assignment("a", "finish");
  missing.mutable_job()->mutable_data()->set_train(0, folder_ + "/inputs/not-mounted/*.txt");
  scheduler_.assign(missing);
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_EQ(scheduler_.report("a.1.0").finished().place_fault(), v1::PLACE_FAULT_DOUBTFUL);
  EXPECT_NE(scheduler_.report("a.1.0").finished().message().find("on this worker's machine"), std::string::npos);
}

TEST_F(DaemonTest, TwoDaemonsDoNotShareAFolder) {
  start();
  absl::StatusOr<CommandResult> second = run_command(command(), kPatience);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->exit.code, 1);
  EXPECT_NE(second->err.find("another galleon-worker uses " + folder_ + "/data"), std::string::npos) << second->err;
}

TEST_F(DaemonTest, ARefusedRegistrationEndsTheDaemonWithTheReason) {
  for (const auto& [code, reason] :
       {std::pair(grpc::StatusCode::ALREADY_EXISTS, "another daemon named w1 holds its lease"),
        std::pair(grpc::StatusCode::FAILED_PRECONDITION, "the scheduler is of version 9.9")}) {
    scheduler_.register_status = grpc::Status(code, reason);
    absl::StatusOr<CommandResult> result = run_command(command(), kPatience);
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->exit.code, 1);
    EXPECT_NE(result->err.find(reason), std::string::npos) << result->err;
    EXPECT_FALSE(std::filesystem::exists(ready_file()));
  }
}

TEST_F(DaemonTest, ANameThatAnotherTookEndsTheDaemonAndItsTrainers) {
  start();
  scheduler_.assign(assignment("a", "ignore-lease; sleep 100000"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  const pid_t leader = group().pid;
  {
    const std::lock_guard<std::mutex> lock(scheduler_.mutex);
    scheduler_.next_sync_status = grpc::Status(grpc::StatusCode::ABORTED, "another daemon has taken the name w1");
  }
  absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(daemon_->pid, kPatience);
  ASSERT_TRUE(exit.ok() && exit->has_value());
  daemon_.reset();
  EXPECT_EQ((*exit)->code, 1);
  EXPECT_EQ(process_group_use(leader).processes, 0);
}

TEST_F(DaemonTest, ATerminatedDaemonHandsEverythingBack) {
  start();
  scheduler_.assign(assignment("a", "log 3; wait-stop"));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kRunning));
  ::kill(daemon_->pid, SIGTERM);
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_TRUE(scheduler_.leaving);
  EXPECT_EQ(scheduler_.report("a.1.0").finished().outcome(), v1::Finished::STOPPED);
  // The scheduler has heard it; the daemon goes when its log is away and nothing is listed any more.
  scheduler_.unlist("a.1.0");
  absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(daemon_->pid, kPatience);
  ASSERT_TRUE(exit.ok() && exit->has_value());
  daemon_.reset();
  EXPECT_EQ((*exit)->code, 0);
  EXPECT_TRUE(scheduler_.logs_complete["a.1.0"]);
  EXPECT_EQ(scheduler_.log("a.1.0"), absl::StrCat(lines(3), "stopping: worker w1 shuts down\n"));
}

TEST_F(DaemonTest, MetricsShowTheJobWhileItRunsAndNotForEver) {
  start();
  scheduler_.assign(assignment("a", absl::StrCat("step 4; ", wait_for_file("scraped"), "; finish")));
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.reports["a.1.0"].progress().step() == 4; }));
  const std::string running = scrape(ready_file());
  allow("scraped");
  for (const char* line :
       {"galleon_job_loss{worker=\"w1\",job_id=\"a\",attempt=\"1\"} 2.5",
        "galleon_job_planned_steps{worker=\"w1\",job_id=\"a\",attempt=\"1\"} 100",
        "galleon_job_attempt{worker=\"w1\",job_id=\"a\",attempt=\"1\"} 1",
        "galleon_job_diverged{worker=\"w1\",job_id=\"a\",attempt=\"1\"} 0",
        "galleon_job_progress_age_seconds{worker=\"w1\",job_id=\"a\",attempt=\"1\"}",
        "galleon_job_memory_bytes{worker=\"w1\",job_id=\"a\",attempt=\"1\",rank=\"0\",category=\"weights\"} 1000",
        "galleon_job_communication_bytes_total{worker=\"w1\",job_id=\"a\",attempt=\"1\",operation=\"all_gather\"} 37",
        "galleon_job_communication_dense_bytes_total{worker=\"w1\",job_id=\"a\",attempt=\"1\"} 91",
        "galleon_rank_info{worker=\"w1\",job_id=\"a\",attempt=\"1\",rank=\"0\",device=\"cpu\",slot=\"0\"} 1",
        "galleon_job_memory_limit_bytes{worker=\"w1\",job_id=\"a\",attempt=\"1\",rank=\"0\",device=\"cpu\"}",
        "galleon_job_memory_resident_bytes{worker=\"w1\",job_id=\"a\",attempt=\"1\",rank=\"0\"}",
        "galleon_worker_slots{worker=\"w1\",state=\"used\"} 1", "galleon_worker_lease_seconds{worker=\"w1\"}",
        "galleon_worker_lease_length_seconds{worker=\"w1\"}", "galleon_disk_free_bytes{worker=\"w1\"}",
        "galleon_build_info{worker=\"w1\",program=\"galleon-worker\",version=\"" GALLEON_VERSION "\"} 1",
        "process_cpu_seconds_total{worker=\"w1\"}"}) {
    EXPECT_THAT(running, testing::HasSubstr(line));
  }
  // A job without GaLore has no subspaces, which is not the same as bases that have nothing in common.
  EXPECT_THAT(running, testing::Not(testing::HasSubstr("galleon_job_subspace")));
  EXPECT_THAT(running, testing::Not(testing::HasSubstr("galleon_job_checkpoint_step")));
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  for (int i = 0; i < 4; ++i) {
    const std::string ended = scrape(ready_file());
    EXPECT_THAT(ended, testing::HasSubstr("galleon_job_loss"));
    EXPECT_THAT(ended, testing::Not(testing::HasSubstr("galleon_rank_info")));
    EXPECT_THAT(ended, testing::Not(testing::HasSubstr("galleon_job_progress_age_seconds")));
  }
  EXPECT_THAT(scrape(ready_file()), testing::Not(testing::HasSubstr("job_id")));
}

TEST_F(DaemonTest, MetricsShowEachRankOfAJobAndTheWholeJobOnce) {
  start();
  scheduler_.assign(assignment("a", absl::StrCat("step 4; ", wait_for_file("scraped"), "; finish"), 0, 2));
  v1::Assignment second = assignment("a", absl::StrCat("step 4; ", wait_for_file("scraped"), "; finish"), 1, 2);
  second.set_slot(1);
  scheduler_.assign(second);
  for (const char* key : {"a.1.0", "a.1.1"})
    ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.reports[key].progress().step() == 4; }));
  const std::string text = scrape(ready_file());
  allow("scraped");
  for (const char* line :
       {"galleon_rank_info{worker=\"w1\",job_id=\"a\",attempt=\"1\",rank=\"1\",device=\"cpu\",slot=\"1\"} 1",
        "galleon_job_memory_bytes{worker=\"w1\",job_id=\"a\",attempt=\"1\",rank=\"1\",category=\"weights\"} 1000",
        "galleon_job_memory_resident_bytes{worker=\"w1\",job_id=\"a\",attempt=\"1\",rank=\"1\"}"}) {
    EXPECT_THAT(text, testing::HasSubstr(line));
  }
  const std::vector<std::string> parts = absl::StrSplit(text, "\ngalleon_job_loss{");
  EXPECT_EQ(parts.size(), 2U);
}

TEST_F(DaemonTest, MetricsShowWhatIsNotLoggedAndHowAJobEnds) {
  start();
  v1::Assignment wanted =
      assignment("a", absl::StrCat("step 4; beat 17; published 12; ", wait_for_file("scraped"), "; diverge"));
  wanted.mutable_job()->mutable_optimizer()->mutable_galore()->set_rank(8);
  scheduler_.assign(wanted);
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.reports["a.1.0"].checkpoint_step() == 12; }));
  EXPECT_EQ(scheduler_.report("a.1.0").newest_step(), 17U);
  const std::string running = scrape(ready_file());
  allow("scraped");
  EXPECT_THAT(running,
              testing::HasSubstr("galleon_job_checkpoint_step{worker=\"w1\",job_id=\"a\",attempt=\"1\"} 12\n"));
  EXPECT_THAT(running, testing::HasSubstr("galleon_job_step{worker=\"w1\",job_id=\"a\",attempt=\"1\"} 4\n"));
  EXPECT_THAT(running, testing::HasSubstr("galleon_job_subspace_refresh_seconds_total"));
  EXPECT_THAT(running, testing::Not(testing::HasSubstr("galleon_job_subspace_overlap_ratio"))) << "no refresh yet";
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  EXPECT_THAT(scrape(ready_file()),
              testing::HasSubstr("galleon_job_diverged{worker=\"w1\",job_id=\"a\",attempt=\"1\"} 1\n"));
  // The next attempt's figures are not shown beside those of this one.
  wanted = assignment("a", "step 20; sleep 60000");
  wanted.mutable_id()->set_attempt(2);
  scheduler_.unlist("a.1.0");
  scheduler_.assign(wanted);
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.reports["a.2.0"].progress().step() == 20; }));
  EXPECT_THAT(scrape(ready_file()), testing::Not(testing::HasSubstr("attempt=\"1\"")));
}

}  // namespace
}  // namespace galleon
