// A trainer whose lease is over ends itself, whatever it is blocked in.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/frame.h"
#include "common/base/ids.h"
#include "common/base/log.h"
#include "tests/patience.h"
#include "worker/trainer/control_socket.h"
#include "worker/trainer/lease_timer.h"

namespace galleon {
namespace {

v1::TrainerEvent large_event() {
  v1::TrainerEvent event;
  event.mutable_stage()->set_detail(std::string(1 << 20, 'd'));
  return event;
}

class LeaseTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/lease-" + random_hex(6);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // In a process of its own: a trainer with a lease, and what it does.
  pid_t trainer(absl::Duration lease, const std::function<void(ControlSocket&)>& does) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    absl::StatusOr<int> listener = listen_unix(folder_ + "/socket");
    if (!listener.ok()) ::_exit(1);
    v1::Hello hello;
    absl::StatusOr<std::unique_ptr<ControlSocket>> control =
        ControlSocket::start(FileDescriptor(*listener), hello, lease);
    if (!control.ok()) ::_exit(2);
    does(**control);
    ::_exit(3);
  }

  // The exit code, waited for with patience. −1: it did not end.
  static int end_of(pid_t pid) {
    int status = 0;
    const bool ended = eventually([&] { return ::waitpid(pid, &status, WNOHANG) == pid; });
    if (ended) return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &status, 0);
    return -1;
  }

  FileDescriptor connect() {
    int fd = -1;
    EXPECT_TRUE(eventually([&] {
      absl::StatusOr<int> connected = connect_unix(folder_ + "/socket");
      if (connected.ok()) fd = *connected;
      return connected.ok();
    }));
    return FileDescriptor(fd);
  }

  std::string folder_;
};

TEST_F(LeaseTest, ADaemonThatReadsNothingDoesNotKeepATrainerAlive) {
  const pid_t pid = trainer(absl::Seconds(3), [](ControlSocket& control) {
    while (true) {
      control.send(large_event());
      absl::SleepFor(absl::Milliseconds(20));
    }
  });
  const FileDescriptor stopped = connect();  // as a daemon that SIGSTOP has stopped: its socket fills up
  EXPECT_EQ(end_of(pid), LeaseTimer::kExitCode);
}

TEST_F(LeaseTest, ALogThatTakesNothingDoesNotKeepATrainerAlive) {
  const pid_t pid = trainer(absl::Seconds(2), [](ControlSocket&) {
    int full[2];
    if (::pipe(full) != 0) ::_exit(4);
    ::dup2(full[1], 1);
    ::dup2(full[1], 2);
    init_logging("galleon-trainer");
    while (true) log_error("a line, until the pipe is full");
  });
  EXPECT_EQ(end_of(pid), LeaseTimer::kExitCode);
}

TEST_F(LeaseTest, AThreadInACallThatNeverReturnsDoesNotKeepATrainerAlive) {
  const pid_t pid = trainer(absl::Seconds(2), [](ControlSocket& control) {
    int silent[2];
    if (::pipe(silent) != 0) ::_exit(4);
    char byte = 0;
    std::thread waits([&] { (void)control.wait_for_decision(1, "folder"); });
    [[maybe_unused]] const ssize_t n = ::read(silent[0], &byte, 1);
  });
  EXPECT_EQ(end_of(pid), LeaseTimer::kExitCode);
}

TEST_F(LeaseTest, RenewalsArriveThoughNoEventIsTaken) {
  const pid_t pid = trainer(absl::Seconds(3), [](ControlSocket& control) {
    for (int i = 0; i < 64; ++i) control.send(large_event());
    while (!control.stop_requested().has_value()) absl::SleepFor(absl::Milliseconds(10));
    ::_exit(0);
  });
  const FileDescriptor daemon = connect();
  const auto say = [&](const v1::TrainerCommand& command) {
    EXPECT_TRUE(write_all(daemon.get(), encode_frame(command.SerializeAsString())).ok());
  };
  v1::TrainerCommand renewal;
  renewal.mutable_lease()->set_milliseconds(600'000);
  say(renewal);
  absl::SleepFor(absl::Seconds(4));  // beyond the first lease
  v1::TrainerCommand stop;
  stop.mutable_stop()->set_reason("enough");
  say(stop);
  EXPECT_EQ(end_of(pid), 0);
}

TEST_F(LeaseTest, ADaemonThatReadsSlowlyGetsEveryEventWhole) {
  constexpr int kEvents = 20;
  const pid_t pid = trainer(absl::Minutes(10), [](ControlSocket& control) {
    for (int i = 0; i < kEvents; ++i) control.send(large_event());
    ::_exit(control.drain(kPatience) ? 0 : 5);
  });
  const FileDescriptor daemon = connect();
  FrameDecoder decoder;
  uint64_t sequence = 0;
  char buffer[1 << 14];
  while (sequence < kEvents + 1) {  // and the hello before them
    const ssize_t n = ::read(daemon.get(), buffer, sizeof(buffer));
    ASSERT_GT(n, 0);
    decoder.append({buffer, static_cast<size_t>(n)});
    absl::StatusOr<std::optional<std::string>> frame = decoder.next();
    ASSERT_TRUE(frame.ok());
    if (!frame->has_value()) continue;
    v1::TrainerEvent event;
    ASSERT_TRUE(event.ParseFromString(**frame));
    EXPECT_EQ(event.sequence(), ++sequence);
  }
  v1::TrainerCommand acknowledge;
  acknowledge.mutable_acknowledge()->set_sequence(sequence);
  ASSERT_TRUE(write_all(daemon.get(), encode_frame(acknowledge.SerializeAsString())).ok());
  EXPECT_EQ(end_of(pid), 0);
}

}  // namespace
}  // namespace galleon
