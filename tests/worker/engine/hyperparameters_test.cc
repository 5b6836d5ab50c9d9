#include "worker/engine/run/hyperparameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/jobfile/jobfile.h"

namespace galleon {
namespace {

using testing::Contains;
using testing::Not;
using testing::Pair;

std::vector<Hyperparameter> chosen_in(const std::string& more) {
  const absl::StatusOr<v1::Job> job = parse_job(
      "name: a\ntask: pretrain\nmodel: {source: 'preset:tiny', overrides: {hidden_size: 128}}\n"
      "tokenizer: bytes\ndata: {train: [a.txt]}\ntraining: {steps: 7, global_batch: 16, micro_batch: 16}\n" +
          more,
      "job.yaml", "");
  EXPECT_TRUE(job.ok()) << job.status();
  return job.ok() ? hyperparameters_of(*job) : std::vector<Hyperparameter>{};
}

TEST(Hyperparameters, AreTheJobFilesKeysInItsWordsDefaultsIncluded) {
  const std::vector<Hyperparameter> chosen =
      chosen_in("optimizer: {learning_rate: 0.02, galore: {rank: 8, moments_at_refresh: rotate}}\n");
  EXPECT_THAT(chosen, Contains(Pair("task", HyperparameterValue("pretrain"))));
  EXPECT_THAT(chosen, Contains(Pair("model.source", HyperparameterValue("preset:tiny"))));
  EXPECT_THAT(chosen, Contains(Pair("tokenizer", HyperparameterValue("bytes"))));
  EXPECT_THAT(chosen, Contains(Pair("model.overrides.hidden_size", HyperparameterValue("128"))));
  EXPECT_THAT(chosen, Contains(Pair("optimizer.learning_rate", HyperparameterValue(0.02))));
  EXPECT_THAT(chosen, Contains(Pair("optimizer.rule", HyperparameterValue("adamw"))));
  EXPECT_THAT(chosen, Contains(Pair("optimizer.galore.rank", HyperparameterValue(8.0))));
  EXPECT_THAT(chosen, Contains(Pair("optimizer.galore.moments_at_refresh", HyperparameterValue("rotate"))));
  EXPECT_THAT(chosen, Contains(Pair("data.last_batch", HyperparameterValue("wrap"))));
  EXPECT_THAT(chosen, Contains(Pair("data.packing", HyperparameterValue(true))));
  EXPECT_THAT(chosen, Contains(Pair("training.steps", HyperparameterValue(7.0))));
}

TEST(Hyperparameters, LeaveOutWhatBearsOnNoLossAndWhatIsNotSet) {
  const std::vector<Hyperparameter> chosen = chosen_in(
      "scheduling: {priority: 3}\ncheckpoint: {every: 5}\noutput: {tensorboard: true}\n"
      "tracking: {mlflow: 'http://127.0.0.1:5000'}\n");
  for (const auto& [key, value] : chosen) {
    EXPECT_THAT(key, Not(testing::AnyOf("name", "data.train", testing::StartsWith("scheduling."),
                                        testing::StartsWith("checkpoint."), testing::StartsWith("output."),
                                        testing::StartsWith("tracking."), testing::StartsWith("optimizer.galore"),
                                        testing::StartsWith("shape"), "data.glue_task", "training.epochs")));
  }
}

}  // namespace
}  // namespace galleon
