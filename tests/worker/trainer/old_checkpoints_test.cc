// Checkpoints that a trainer of November 2026 wrote, of before Muon came: tests/fixtures/old_checkpoints holds them,
// with their jobs. Today's goes on from them as that one did.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "common/base/process.h"
#include "tests/patience.h"
#include "tests/worker/engine/run_support.h"

namespace galleon {
namespace {

namespace fs = std::filesystem;

struct Old {
  const char* name;
  std::vector<double> losses;  // of the steps after the checkpoint's, as it went on
  // On the processor that wrote it, 0. Others sum in another order; bf16 rounds that again.
  double tolerance;
};

class OldCheckpoint : public testing::TestWithParam<Old> {};

TEST_P(OldCheckpoint, GoesOnAsItDid) {
  const TestFolder folder;
  const fs::path fixture = fs::path(GALLEON_SOURCE_DIR) / "tests/fixtures/old_checkpoints" / GetParam().name;
  fs::create_directories(folder.path() + "/out/checkpoints");
  fs::copy(fixture / "step-00000004", folder.path() + "/out/checkpoints/step-00000004", fs::copy_options::recursive);
  ProcessOptions options;
  options.command = {std::string(GALLEON_BINARY_DIR) + "/galleon-trainer",
                     "--job",
                     fixture / "job.yaml",
                     "--output",
                     folder.path() + "/out",
                     "--threads",
                     "1"};
  options.stdout_path = options.stderr_path = folder.path() + "/log";
  options.die_with_parent = true;
  const absl::StatusOr<ProcessId> trainer = start_process(options);
  ASSERT_TRUE(trainer.ok()) << trainer.status();
  const absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(trainer->pid, kPatience);
  std::ifstream log(folder.path() + "/log");
  const std::string text{std::istreambuf_iterator<char>(log), {}};
  ASSERT_TRUE(exit.ok() && exit->has_value() && (*exit)->code == 0) << text;

  std::vector<double> losses;
  std::ifstream metrics(folder.path() + "/out/metrics.jsonl");
  for (std::string line; std::getline(metrics, line);) {
    const nlohmann::json entry = nlohmann::json::parse(line);
    if (entry.contains("loss")) losses.push_back(entry["loss"]);
  }
  const std::vector<double>& expected = GetParam().losses;
  ASSERT_EQ(losses.size(), expected.size()) << text;
  for (size_t i = 0; i < losses.size(); ++i)
    EXPECT_NEAR(losses[i], expected[i], GetParam().tolerance * expected[i]) << "step " << 5 + i;
}

INSTANTIATE_TEST_SUITE_P(
    All, OldCheckpoint,
    testing::Values(
        // bf16 with an fp32 master, 8-bit moments that are turned, lazy refreshes.
        Old{"adam8bit", {5.195014117285609, 5.061369510367513, 4.92728571780026, 4.835335485637188}, 2e-4},
        // fp32, factored moments, bases in int8.
        Old{"adafactor", {5.041688149794936, 4.887068381533027, 4.764960819855332, 4.647544179111719}, 1e-5}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace galleon
