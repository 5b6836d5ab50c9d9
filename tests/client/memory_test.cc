// The plan against what the operating system saw: peak resident memory of real trainers.
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "tests/client/galleon_program.h"

namespace galleon {
namespace {

using Json = nlohmann::json;

// VmHWM of each trainer of this output folder, by rank, in bytes.
void look_at_trainers(const std::string& output, std::map<int, double>& peaks) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string folder = entry.path().string();
    const std::string pid = entry.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string command = read_file(folder + "/cmdline").value_or("");
    if (!absl::StartsWith(command, program("galleon-trainer"))) continue;
    const std::vector<std::string> words = absl::StrSplit(command, '\0');
    const auto after = [&](const char* option) {
      const auto at = std::find(words.begin(), words.end(), option);
      return at == words.end() || at + 1 == words.end() ? std::string() : *(at + 1);
    };
    int rank = 0;
    if (after("--output") != output || !absl::SimpleAtoi(after("--rank"), &rank)) continue;
    const std::string status = read_file(folder + "/status").value_or("");
    for (absl::string_view line : absl::StrSplit(status, '\n')) {
      double kibibytes = 0;
      if (!absl::ConsumePrefix(&line, "VmHWM:") || !absl::ConsumeSuffix(&line, "kB")) continue;
      if (absl::SimpleAtod(line, &kibibytes)) peaks[rank] = std::max(peaks[rank], kibibytes * 1024);
    }
  }
}

class Memory : public GalleonProgram {
 protected:
  void expect_plan_to_hold(const std::string& more, int ranks, int threads) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's own memory is not planned";
#endif
    const std::string job = folder_ + "/memory.yaml";
    ASSERT_TRUE(
        write_file_atomically(
            job,
            absl::StrCat(
                "name: memory\ntask: pretrain\nmodel: {source: 'preset:llama-20m', overrides: {vocab_size: 4096}}\n",
                "tokenizer: bytes\ndata: {train: [text.txt], sequence_length: 128}\n",
                "optimizer: {learning_rate: 0.001, galore: {rank: 64, refresh_interval: 20}}\n",
                "training: {steps: 4, global_batch: ", 8 * ranks,
                ", micro_batch: 8, log_every: 1, evaluate_every: 0}\n", "parallel: {ranks: ", ranks, "}\n", more))
            .ok());
    const CommandResult planned = galleon({"plan", job, "-o", "json"});
    ASSERT_EQ(planned.exit.code, 0) << planned.err;
    const Json plan = Json::parse(planned.out);
    const double base = std::stod(plan["process_base_bytes"].get<std::string>());
    const std::string output = folder_ + "/run";
    start({"train", job, "--output", output, "--threads", std::to_string(threads)});
    std::map<int, double> peaks;
    // The high-water mark never falls, so that the last look before the end has all but the last moment.
    while (process_.pid != 0) {
      look_at_trainers(output, peaks);
      absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process_.pid, absl::Milliseconds(10));
      ASSERT_TRUE(exit.ok()) << exit.status();
      if (!exit->has_value()) continue;
      EXPECT_EQ((*exit)->code, 0) << text_of("err.log");
      process_ = {};
    }
    ASSERT_EQ(static_cast<int>(peaks.size()), ranks);
    for (const auto& [rank, peak] : peaks) {
      const double expected = std::stod(plan["ranks"][rank]["peak_bytes"].get<std::string>()) + base;
      EXPECT_NEAR(peak, expected, 0.10 * expected)
          << "rank " << rank << ": beside the ledger it took " << (peak - expected + base) / (1 << 20) << " MiB";
      RecordProperty(absl::StrCat("rank_", rank, "_peak_over_plan"), absl::StrCat(peak / expected));
    }
  }
};

TEST_F(Memory, OfATrainerIsWithinTenPercentOfItsPlan) {
  expect_plan_to_hold("", 1, 1);
}

TEST_F(Memory, OfATrainerWithTwoThreadsIsWithinTenPercentOfItsPlan) {
  expect_plan_to_hold("", 1, 2);
}

TEST_F(Memory, OfTwoRanksIsWithinTenPercentOfTheirPlans) {
  expect_plan_to_hold("", 2, 1);
}

TEST_F(Memory, OfATrainerDoesNotGrowWithItsCorpus) {
  std::string text;
  while (text.size() < (64U << 20)) absl::StrAppend(&text, "the sea was calm, and the ship went on; ");
  ASSERT_TRUE(write_file_atomically(folder_ + "/text.txt", text).ok());
  expect_plan_to_hold("", 1, 1);
}

}  // namespace
}  // namespace galleon
