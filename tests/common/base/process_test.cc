#include "common/base/process.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/frame.h"
#include "tests/patience.h"

namespace galleon {
namespace {

TEST(Process, CommandReturnsItsOutputAndCode) {
  absl::StatusOr<CommandResult> result = run_command({"/bin/sh", "-c", "echo out; echo err >&2; exit 3"}, kPatience);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "out\n");
  EXPECT_EQ(result->err, "err\n");
  EXPECT_EQ(result->exit.code, 3);
  EXPECT_FALSE(result->timed_out);
}

TEST(Process, CommandThatOutlastsItsTimeoutIsKilledWithItsChildren) {
  absl::StatusOr<CommandResult> result = run_command({"/bin/sh", "-c", "sleep 100 & echo $!; wait"}, absl::Seconds(2));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->timed_out);
  EXPECT_EQ(result->exit.signal, SIGKILL);
  const pid_t child = std::stoi(result->out);
  EXPECT_TRUE(eventually([child] { return !process_start_ticks(child).has_value(); }));
}

TEST(Process, MissingProgramIsAnErrorThatNamesIt) {
  absl::StatusOr<CommandResult> result = run_command({"/no/such/program"}, absl::Seconds(1));
  ASSERT_EQ(result.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(result.status().message().find("/no/such/program"), std::string::npos);
}

TEST(Process, GroupOfAReusedPidIsLeftAlone) {
  ProcessOptions options;
  options.command = {"/bin/sleep", "100"};
  absl::StatusOr<ProcessId> process = start_process(options);
  ASSERT_TRUE(process.ok());
  signal_process_group({process->pid, process->start_ticks + 1}, SIGKILL);
  EXPECT_TRUE(process_alive(*process));
  signal_process_group(*process, SIGKILL);
  absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process->pid, kPatience);
  ASSERT_TRUE(exit.ok() && exit->has_value());
  EXPECT_EQ((*exit)->signal, SIGKILL);
}

TEST(Frame, FramesSurviveAnyCutting) {
  const std::string stream = encode_frame("first") + encode_frame("") + encode_frame(std::string(5000, 'x'));
  for (size_t piece : {1, 2, 3, 7, 4096}) {
    FrameDecoder decoder;
    std::vector<std::string> frames;
    for (size_t i = 0; i < stream.size(); i += piece) {
      decoder.append(absl::string_view(stream).substr(i, piece));
      while (true) {
        absl::StatusOr<std::optional<std::string>> frame = decoder.next();
        ASSERT_TRUE(frame.ok());
        if (!frame->has_value()) break;
        frames.push_back(**frame);
      }
    }
    EXPECT_EQ(frames, (std::vector<std::string>{"first", "", std::string(5000, 'x')}));
  }
}

TEST(Frame, AnAbsurdLengthIsRefused) {
  FrameDecoder decoder;
  decoder.append("\xff\xff\xff\xff");
  EXPECT_EQ(decoder.next().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Frame, SocketsWorkBelowVeryLongFolders) {
  const std::string folder = testing::TempDir() + "/" + std::string(150, 'a');
  ASSERT_TRUE(make_folders(folder).ok());
  absl::StatusOr<int> listener = listen_unix(folder + "/s");
  ASSERT_TRUE(listener.ok()) << listener.status();
  FileDescriptor own(*listener);
  absl::StatusOr<int> client = connect_unix(folder + "/s");
  ASSERT_TRUE(client.ok()) << client.status();
  FileDescriptor other(*client);
}

TEST(Files, DurableWriteReplacesTheWholeFile) {
  const std::string path = testing::TempDir() + "/durable.txt";
  ASSERT_TRUE(write_file_durably(path, "old and long").ok());
  ASSERT_TRUE(write_file_durably(path, "new").ok());
  EXPECT_EQ(*read_file(path), "new");
  EXPECT_EQ(*read_file_tail(path, 2), "ew");
}

}  // namespace
}  // namespace galleon
