// `galleon train` with real trainer processes: one rank and two, Ctrl-C and the way back, a full disk.
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "tests/client/galleon_program.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;

class Train : public GalleonProgram {
 protected:
  ~Train() override {
    if (!mounted_.empty()) ::umount2(mounted_.c_str(), MNT_DETACH);
  }
  std::string mounted_;
};

TEST_F(Train, WorksWithOneRankAndWithTwo) {
  const std::string job = job_file("a", 12);
  std::map<int, std::map<int64_t, double>> losses_of;
  for (const int ranks : {1, 2}) {
    const std::string output = absl::StrCat(folder_, "/run-", ranks);
    const CommandResult result =
        galleon({"train", job, "--output", output, "--ranks", std::to_string(ranks), "--threads", "1"});
    EXPECT_EQ(result.exit.code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("a  step 12/12  loss "));
    EXPECT_THAT(result.out, HasSubstr("done: 12 steps, training loss "));
    EXPECT_THAT(checkpoints(output), ElementsAre("step-00000012"));
    losses_of[ranks] = losses(output);
    ASSERT_EQ(losses_of[ranks].size(), 12U);
    for (const auto& entry : std::filesystem::directory_iterator(output)) {
      EXPECT_THAT(entry.path().filename().string(), testing::Not(testing::StartsWith("."))) << "left behind";
    }
  }
  for (const auto& [step, loss] : losses_of[1]) EXPECT_NEAR(losses_of[2][step], loss, 1e-3 * loss) << "step " << step;
  EXPECT_LT(losses_of[1][12], losses_of[1][1]) << "it learns";
}

TEST_F(Train, PlansAMixtureOfTwoSourcesAndPassesThroughTheSmallOneMoreOften) {
  std::string lines;
  for (int i = 0; i < 50; ++i) absl::StrAppend(&lines, "{\"text\": \"a small source of ", i, " lines\"}\n");
  ASSERT_TRUE(make_folders(folder_ + "/small").ok());
  ASSERT_TRUE(write_file_atomically(folder_ + "/small/lines.jsonl", lines).ok());
  const auto job = [&](const std::string& train) {
    const std::string path = folder_ + "/mixed.yaml";
    EXPECT_TRUE(
        write_file_atomically(
            path, absl::StrCat("name: mixed\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\n",
                               "data: {train: ", train, ", sequence_length: 32}\n",
                               "training: {steps: 20, global_batch: 8, micro_batch: 2, log_every: 1}\n"))
            .ok());
    return path;
  };
  const std::string mixture = job("[{path: text.txt, weight: 3}, {path: small/*.jsonl, weight: 1}]");
  const CommandResult planned = galleon({"plan", mixture});
  EXPECT_EQ(planned.exit.code, 0) << planned.err;
  EXPECT_THAT(planned.err, testing::AllOf(HasSubstr("data.train is a mixture: 75 % from " + folder_ + "/text.txt, 25 "),
                                          HasSubstr("20 steps draw 120 sequences from " + folder_ + "/text.txt, 40 ")));

  std::map<int, std::map<int64_t, double>> losses_of;
  for (const int ranks : {1, 2}) {
    const std::string output = absl::StrCat(folder_, "/run-", ranks);
    const CommandResult result =
        galleon({"train", mixture, "--output", output, "--ranks", std::to_string(ranks), "--threads", "1"});
    EXPECT_EQ(result.exit.code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("the mixture of 20 steps: 120 sequences from "));
    EXPECT_THAT(result.out, HasSubstr("; 40 from " + folder_ + "/small/*.jsonl, which has 41 (0.976 passes)"));
    losses_of[ranks] = losses(output);
    ASSERT_EQ(losses_of[ranks].size(), 20U);
  }
  for (const auto& [step, loss] : losses_of[1]) EXPECT_NEAR(losses_of[2][step], loss, 1e-3 * loss) << "step " << step;

  // Other weights are other data, which a run does not go on with by itself.
  const CommandResult changed =
      galleon({"train", job("[{path: text.txt, weight: 1}, {path: small/*.jsonl, weight: 1}]"), "--output",
               folder_ + "/run-1", "--threads", "1"});
  EXPECT_NE(changed.exit.code, 0);
  EXPECT_THAT(changed.err, HasSubstr("checkpoint.resume_with_changed_data"));
}

TEST_F(Train, TheLastLineSaysHowManyRowsWereSkipped) {
  std::string lines;
  for (int i = 0; i < 50; ++i)
    absl::StrAppend(&lines, i % 20 == 7 ? "{\"text\": 7}\n" : "{\"text\": \"a line of text\"}\n");
  ASSERT_TRUE(write_file_atomically(folder_ + "/lines.jsonl", lines).ok());
  ASSERT_TRUE(write_file_atomically(folder_ + "/skip.yaml",
                                    "name: skip\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\n"
                                    "data: {train: [lines.jsonl], sequence_length: 32, bad_rows: skip}\n"
                                    "training: {steps: 3, global_batch: 4, micro_batch: 2, log_every: 1}\n")
                  .ok());
  // The second run finds the tokens that the first has made.
  for (const char* run : {"/run", "/run"}) {
    const CommandResult result =
        galleon({"train", folder_ + "/skip.yaml", "--output", folder_ + run, "--threads", "1"});
    EXPECT_EQ(result.exit.code, 0) << result.err;
    EXPECT_THAT(result.out, testing::ContainsRegex("done: 3 steps, .*, 3 bad rows skipped\n"));
  }
  EXPECT_THAT(*read_file(folder_ + "/run/metrics.jsonl"), HasSubstr("\"bad_rows\":3"));
}

TEST_F(Train, SavesACheckpointOnCtrlCAndGoesOnWithThePrintedCommand) {
  const std::string job = job_file("a", 150);
  const std::string whole = folder_ + "/whole";
  ASSERT_EQ(galleon({"train", job, "--output", whole, "--threads", "1"}).exit.code, 0);

  const std::string output = folder_ + "/a run";
  start({"train", job, "--output", output, "--threads", "1"});
  ASSERT_TRUE(await_step(output, 3));
  send(SIGINT);
  EXPECT_EQ(await_end(), 1) << text_of("err.log");
  const std::string said = text_of("out.log");
  EXPECT_THAT(said, HasSubstr("interrupted; saving a checkpoint"));
  const size_t at = said.find("to go on: ");
  ASSERT_NE(at, std::string::npos) << said;
  ASSERT_EQ(checkpoints(output).size(), 1U);
  const size_t before = losses(output).size();
  EXPECT_LT(before, 150U);

  // As a shell would take it.
  const std::string command = said.substr(at + 10, said.find('\n', at) - at - 10);
  const absl::StatusOr<CommandResult> again =
      run_command({"/bin/sh", "-c", absl::StrCat("PATH=", GALLEON_BINARY_DIR, ":$PATH; ", command)}, kPatience);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->exit.code, 0) << command << "\n" << again->err;
  EXPECT_EQ(losses(output), losses(whole)) << "bit for bit, each step once";
}

TEST_F(Train, CtrlCBeforeTheFirstStepIsNoFailure) {
  for (const int ranks : {1, 2}) {
    const std::string output = absl::StrCat(folder_, "/run-", ranks);
    start({"train", job_file("a", 5000), "--output", output, "--ranks", std::to_string(ranks), "--threads", "1"});
    EXPECT_TRUE(eventually([&] { return std::filesystem::exists(output + "/rank-0.log"); }));
    send(SIGINT);
    EXPECT_EQ(await_end(), 1);
    EXPECT_EQ(text_of("err.log"), "");
    EXPECT_THAT(text_of("out.log"),
                HasSubstr(absl::StrCat("to go on: galleon train ", folder_, "/a.yaml --output ", output)));
  }
}

TEST_F(Train, EndsBothRanksOnCtrlCAndOnTheSignalsOfBatchSystems) {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    const std::string output = absl::StrCat(folder_, "/run-", signal);
    start({"train", job_file("a", 5000), "--output", output, "--ranks", "2", "--threads", "1"});
    ASSERT_TRUE(await_step(output, 2));
    send(signal);
    EXPECT_EQ(await_end(), 1) << text_of("err.log");
    EXPECT_THAT(text_of("out.log"), HasSubstr("--ranks 2"));
    EXPECT_EQ(checkpoints(output).size(), 1U);
  }
}

TEST_F(Train, ADoneRunSaysSoAgain) {
  const std::string job = job_file("a", 4);
  const std::string output = folder_ + "/run";
  ASSERT_EQ(galleon({"train", job, "--output", output}).exit.code, 0);
  const CommandResult again = galleon({"train", job, "--output", output});
  EXPECT_EQ(again.exit.code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("done: 4 steps, all of them in an earlier run"));
  EXPECT_EQ(losses(output).size(), 4U);
}

TEST_F(Train, GivesTheTrainersReasonInOneSentence) {
  const std::string job = job_file("a", 4);
  ASSERT_TRUE(write_file_atomically(folder_ + "/text.txt", "short").ok());
  const CommandResult result = galleon({"train", job, "--output", folder_ + "/run"});
  EXPECT_EQ(result.exit.code, 1);
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_THAT(result.err, testing::StartsWith("galleon: "));
}

TEST_F(Train, NamesThePathWhenTheDiskIsFullAndLosesNoEarlierCheckpoint) {
  const std::string output = folder_ + "/run";
  ASSERT_TRUE(make_folders(output).ok());
  if (::mount("tmpfs", output.c_str(), "tmpfs", 0, "size=32m") != 0)
    GTEST_SKIP() << "a file system of 32 MiB cannot be mounted: " << std::strerror(errno);
  mounted_ = output;
  ASSERT_EQ(galleon({"train", job_file("a", 4), "--output", output}).exit.code, 0);
  ASSERT_THAT(checkpoints(output), ElementsAre("step-00000004"));
  // All but what logs and metrics need.
  struct statvfs room {};
  ASSERT_EQ(::statvfs(output.c_str(), &room), 0);
  ASSERT_TRUE(
      write_file_atomically(output + "/filler", std::string(room.f_bavail * room.f_bsize - (200 << 10), 'x')).ok());

  const CommandResult full = galleon({"train", job_file("a", 8), "--output", output});
  EXPECT_EQ(full.exit.code, 1) << full.out;
  EXPECT_THAT(full.err, HasSubstr(output + "/checkpoints")) << full.err;
  EXPECT_THAT(full.err, HasSubstr("No space left on device"));
  EXPECT_EQ(std::count(full.err.begin(), full.err.end(), '\n'), 1) << full.err;
  EXPECT_THAT(checkpoints(output), testing::Contains("step-00000004"));
  EXPECT_EQ(galleon({"evaluate", "--model", output + "/checkpoints/step-00000004", "--data", folder_ + "/text.txt",
                     "--sequence-length", "32", "--tokens", "512"})
                .exit.code,
            0)
      << "the earlier checkpoint loads";

  std::filesystem::remove(output + "/filler");
  const CommandResult again = galleon({"train", job_file("a", 8), "--output", output});
  EXPECT_EQ(again.exit.code, 0) << again.err;
  EXPECT_EQ(losses(output).size(), 8U);
  EXPECT_THAT(checkpoints(output), IsSupersetOf({"step-00000004", "step-00000008"}));
}

}  // namespace
}  // namespace galleon
