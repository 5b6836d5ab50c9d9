// TensorBoard's files of whole runs, read by the package tensorboard. GALLEON_PYTHON names a Python that has it;
// without one the tests that read are skipped.
#include <fcntl.h>
#include <sys/mount.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/worker/engine/python_packages.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/run/tensorboard_file.h"

namespace galleon {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;

constexpr absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// What the package says of a folder of a run.
json read_back(const std::string& folder) {
  const std::string out = folder + "/../read.json";
  const std::string command = absl::StrCat(python(), " " GALLEON_SOURCE_DIR "/tests/worker/engine/read_tensorboard.py ",
                                           folder, " >", out, " 2>", out, ".err");
  const int code = std::system(command.c_str());
  EXPECT_EQ(code, 0) << read_file(out + ".err").value_or("");
  return code == 0 ? json::parse(*read_file(out)) : json();
}

std::vector<int64_t> steps_of(const json& told, const std::string& tag) {
  std::vector<int64_t> steps;
  if (!told["scalars"].contains(tag)) return steps;
  for (const json& point : told["scalars"][tag]) steps.push_back(point[0].get<int64_t>());
  return steps;
}

std::vector<int64_t> counted(int64_t last) {
  std::vector<int64_t> steps(last);
  for (int64_t i = 0; i < last; ++i) steps[i] = i + 1;
  return steps;
}

RunOptions watched_run(const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.tensorboard = true;
  o.evaluate_every = 6;
  o.hyperparameters = {{"optimizer.learning_rate", 0.01}, {"data.packing", true}, {"optimizer.rule", "adamw"}};
  return o;
}

class Tensorboard : public testing::Test {
 protected:
  void SetUp() override {
    static const bool has = python_has("tensorboard");
    if (!has) GTEST_SKIP() << python() << " has no tensorboard; GALLEON_PYTHON names another";
  }
  TestFolder folder_;
};

TEST_F(Tensorboard, ReadsWhatMetricsJsonlHolds) {
  const RankOutcome run = run_one(watched_run(folder_), folder_.path() + "/out");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  const json told = read_back(folder_.path() + "/out/tensorboard");
  EXPECT_EQ(steps_of(told, "train/loss"), counted(12));
  for (size_t i = 0; i < run.observer.lines.size(); ++i) {
    const StepLine& line = run.observer.lines[i];
    // Scalars are fp32 there.
    EXPECT_FLOAT_EQ(told["scalars"]["train/loss"][i][1].get<float>(), static_cast<float>(line.loss));
    EXPECT_FLOAT_EQ(told["scalars"]["train/learning_rate"][i][1].get<float>(), static_cast<float>(line.learning_rate));
    EXPECT_FLOAT_EQ(told["scalars"]["memory/peak"][i][1].get<float>(), static_cast<float>(line.memory_peak));
    EXPECT_FLOAT_EQ(told["scalars"]["train/tokens"][i][1].get<float>(), static_cast<float>(line.tokens));
  }
  EXPECT_EQ(steps_of(told, "validation/loss"), (std::vector<int64_t>{6, 12}));
  EXPECT_FLOAT_EQ(told["scalars"]["validation/perplexity"][1][1].get<float>(),
                  static_cast<float>(run.observer.evaluations.back().perplexity()));
  EXPECT_FALSE(steps_of(told, "subspaces/refresh_seconds").empty());
  EXPECT_EQ(told["hparams"],
            (json{{"optimizer.learning_rate", 0.01}, {"data.packing", true}, {"optimizer.rule", "adamw"}}));
  EXPECT_EQ(told["group"], "") << "the plug-in takes the runs of a group for one";
  EXPECT_EQ(told["end"], 1) << "STATUS_SUCCESS";
}

TEST_F(Tensorboard, SeesNoStepTwiceAfterAResumeThatUndidSome) {
  RunOptions o = watched_run(folder_);
  o.checkpoint_every = 4;
  const std::string output = folder_.path() + "/out";
  // Ends in step 7, as by a kill: the checkpoint is that of step 4.
  const auto fails_at_seven = [](int, RecordingObserver& observer, RunContext& context) {
    context.clock = [] { return kStart; };
    observer.gate = [](int64_t step) { return step > 4 ? absl::UnavailableError("killed") : absl::OkStatus(); };
  };
  ASSERT_FALSE(run_one(o, output, fails_at_seven).result.ok());
  const json before = read_back(output + "/tensorboard");
  ASSERT_GT(steps_of(before, "train/loss").back(), 4);
  EXPECT_TRUE(before["end"].is_null());
  // The clock has gone back meanwhile.
  const RankOutcome rest = run_one(o, output, [](int, RecordingObserver&, RunContext& context) {
    context.clock = [] { return kStart - absl::Hours(1); };
  });
  ASSERT_TRUE(rest.result.ok()) << rest.result.status();
  ASSERT_EQ(rest.observer.lines.front().step, 5);
  EXPECT_EQ(files_in(output + "/tensorboard").size(), 2U);
  const json told = read_back(output + "/tensorboard");
  EXPECT_EQ(steps_of(told, "train/loss"), counted(12));
  EXPECT_EQ(steps_of(told, "validation/loss"), (std::vector<int64_t>{6, 12}));
  EXPECT_EQ(told["end"], 1);
}

TEST_F(Tensorboard, SeesTheNewRunAloneWhereItBeganAnew) {
  RunOptions o = watched_run(folder_);
  const std::string output = folder_.path() + "/out";
  ASSERT_TRUE(run_one(o, output).result.ok());
  std::filesystem::remove_all(o.checkpoint_folder);
  o.steps = 5;
  ASSERT_TRUE(run_one(o, output).result.ok());
  EXPECT_EQ(steps_of(read_back(output + "/tensorboard"), "train/loss"), counted(5));
}

TEST_F(Tensorboard, ReadsOnBehindARecordThatWasCutOff) {
  RunOptions o = watched_run(folder_);
  const std::string output = folder_.path() + "/out";
  ASSERT_TRUE(
      run_one(o, output, [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 5; }).result.ok());
  const std::string file = output + "/tensorboard/" + files_in(output + "/tensorboard").front();
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 7);
  ASSERT_TRUE(run_one(o, output).result.ok());
  const json told = read_back(output + "/tensorboard");
  EXPECT_EQ(steps_of(told, "train/loss"), (std::vector<int64_t>{1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12}));
}

TEST_F(Tensorboard, ReadsTheFileThatRankZeroWrote) {
  RunOptions o = watched_run(folder_);
  const std::vector<RankOutcome> ranks = run_ranks(o, 2, folder_.path() + "/out");
  ASSERT_TRUE(ranks[0].result.ok()) << ranks[0].result.status();
  const json told = read_back(folder_.path() + "/out/tensorboard");
  EXPECT_EQ(told["files"].size(), 1U);
  EXPECT_EQ(steps_of(told, "train/loss"), counted(12));
  EXPECT_EQ(steps_of(told, "ranks/sent_bytes"), counted(12));
}

TEST(TensorboardFile, IsThereWhereItIsAskedForAndNotWhereAllIsDone) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 2;
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/out/tensorboard"));
  o.tensorboard = true;
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/out/tensorboard")) << "nothing was left to train";
}

TEST(TensorboardFile, NamesSortInTheOrderOfTheirBeginningsWhateverTheClockDoes) {
  TestFolder folder;
  for (const absl::Duration shift : {absl::ZeroDuration(), absl::ZeroDuration(), absl::Hours(-5), absl::Hours(2)}) {
    const std::vector<std::string> before = files_in(folder.path());
    ASSERT_TRUE(TensorboardFile::open(folder.path(), 0, RunOptions{}, [shift] { return kStart + shift; }).ok());
    const std::vector<std::string> now = files_in(folder.path());
    ASSERT_EQ(now.size(), before.size() + 1);
    EXPECT_THAT(before, testing::Not(Contains(now.back()))) << "the newest file is the last";
  }
}

TEST(TensorboardFile, AFullDiskEndsTheRunWithThePathAsItDoesForMetrics) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.tensorboard = true;
  const std::string events = folder.path() + "/out/tensorboard";
  ASSERT_TRUE(make_folders(events).ok());
  if (::mount("tmpfs", events.c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "a file system of 64 KiB cannot be mounted: " << std::strerror(errno);
  // From the third step's line on there is no byte left, neither in new blocks nor in the last one of the file.
  const auto fill = [&](const std::string& path) {
    const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    while (::write(file.get(), "x", 1) == 1) {
    }
  };
  const RankOutcome run = run_one(o, folder.path() + "/out", [&](int, RecordingObserver& observer, RunContext&) {
    observer.step_logged = [&](const StepLine& line) {
      if (line.step != 3) return;
      fill(events + "/filler");
      fill(events + "/" + files_in(events).front());
    };
  });
  ::umount2(events.c_str(), MNT_DETACH);
  ASSERT_FALSE(run.result.ok());
  EXPECT_THAT(std::string(run.result.status().message()), HasSubstr("No space left on device"));
  EXPECT_THAT(std::string(run.result.status().message()), HasSubstr(events + "/events.out.tfevents."));
  EXPECT_EQ(run.observer.lines.back().step, 4);
}

}  // namespace
}  // namespace galleon
