// Muon in whole runs: what it keeps, what it is not disturbed by, and what it refuses.
#include <cmath>

#include "absl/strings/match.h"
#include "tests/worker/engine/one_matrix.h"
#include "tests/worker/engine/run_support.h"

namespace galleon {
namespace {

OptimizerOptions muon_alone() {
  OptimizerOptions o;
  o.rule = MomentRule::kMuon;
  o.momentum = 0.95;
  o.learning_rate = 0.01;
  o.schedule = {ScheduleType::kConstant, 0, 0.1, 10};
  return o;
}

RunOptions muon_run(const TestFolder& folder, MomentRule rule = MomentRule::kMuon) {
  RunOptions o = tiny_run(folder);
  o.data.validation.clear();
  o.steps = 6;
  o.global_batch = 12;
  o.micro_batch = 2;
  o.optimizer.rule = rule;
  o.optimizer.momentum = 0.95;
  o.optimizer.galore->moments = MomentsAtRefresh::kRotate;
  return o;
}

std::vector<float> waves(int64_t size, float scale) {
  std::vector<float> g(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) g[i] = scale * std::sin(static_cast<float>(i * i % 97));
  return g;
}

TEST(Muon, AGradientOfZerosMovesNothing) {
  OneMatrix one(12, 8, muon_alone());
  set_weight(one.parameter(), one.device(), waves(96, 1).data());
  one.step(1, std::vector<float>(96).data());
  EXPECT_EQ(get_weight(one.parameter(), one.device()), waves(96, 1));
}

// The factor of the paper: an orthogonal m×n matrix has a root mean square of 1/√max(m, n).
TEST(Muon, AStepsRootMeanSquareIsAboutAdamWsWhateverTheShapeAndTheGradientsSize) {
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{40, 40}, {60, 20}, {20, 60}}) {
    for (const float size : {1e-4F, 1.0F, 1e3F}) {
      OneMatrix one(out, in, muon_alone());
      set_weight(one.parameter(), one.device(), std::vector<float>(static_cast<size_t>(out * in)).data());
      one.step(1, waves(out * in, size).data());
      double squares = 0;
      for (const float w : get_weight(one.parameter(), one.device())) squares += static_cast<double>(w) * w;
      const double rms = std::sqrt(squares / static_cast<double>(out * in)) / 0.01;
      EXPECT_GT(rms, 0.1) << out << "x" << in << " " << size;
      EXPECT_LT(rms, 0.25) << out << "x" << in << " " << size;
    }
  }
}

TEST(Muon, AWideMatrixTakesTheStepsOfItsTransposed) {
  OneMatrix wide(8, 20, muon_alone());
  OneMatrix tall(20, 8, muon_alone());
  const std::vector<float> g = waves(160, 1);
  std::vector<float> turned(160);
  for (int64_t i = 0; i < 8; ++i) {
    for (int64_t j = 0; j < 20; ++j) turned[j * 8 + i] = g[i * 20 + j];
  }
  set_weight(wide.parameter(), wide.device(), std::vector<float>(160).data());
  set_weight(tall.parameter(), tall.device(), std::vector<float>(160).data());
  wide.step(1, g.data());
  tall.step(1, turned.data());
  const std::vector<float> a = get_weight(wide.parameter(), wide.device());
  const std::vector<float> b = get_weight(tall.parameter(), tall.device());
  for (int64_t i = 0; i < 8; ++i) {
    for (int64_t j = 0; j < 20; ++j) EXPECT_NEAR(a[i * 20 + j], b[j * 8 + i], 1e-6);
  }
}

TEST(Muon, TakesAdamWForWhatIsNoMatrixOfABlockAndOneMomentForWhatIs) {
  TestFolder folder;
  for (const bool projected : {true, false}) {
    RunOptions o = muon_run(folder);
    if (!projected) o.optimizer.galore.reset();
    const absl::StatusOr<ResolvedJob> job = resolve_job(o);
    ASSERT_TRUE(job.ok()) << job.status();
    const std::unique_ptr<Device> device = make_cpu_device(1);
    const std::unique_ptr<Communicator> communicator = make_single_communicator(*device);
    const absl::StatusOr<std::unique_ptr<Engine>> engine =
        Engine::create(*engine_shape(o, job->config, 1), *device, *communicator);
    ASSERT_TRUE(engine.ok()) << engine.status();
    int firsts = 0;
    int seconds = 0;
    for (const Ledger::Entry& entry : device->ledger().entries()) {
      const bool in_block = absl::StrContains(entry.name, "_proj.");
      firsts += in_block && absl::EndsWith(entry.name, ".first_moment") ? 1 : 0;
      seconds += in_block && absl::EndsWith(entry.name, ".second_moment") ? 1 : 0;
      if (absl::StrContains(entry.name, "embed_tokens") && absl::EndsWith(entry.name, ".second_moment")) --firsts;
    }
    EXPECT_EQ(firsts, 14 - 1) << "two layers of seven matrices, and the embedding's AdamW";
    EXPECT_EQ(seconds, 0);
  }
}

// One orthogonalisation a step, of the sum over passes and ranks, whatever is sharded and however it is added up.
TEST(Muon, PassesRanksAndStagesChangeNothingButTheOrderOfSums) {
  TestFolder folder;
  for (const bool projected : {true, false}) {
    RunOptions o = muon_run(folder);
    if (!projected) o.optimizer.galore.reset();
    auto losses = [&](int ranks, int zero, int64_t micro_batch, DataType accumulate) {
      RunOptions run = o;
      run.micro_batch = micro_batch;
      run.optimizer.zero = zero;
      run.optimizer.accumulate_type = accumulate;
      if (accumulate == DataType::kBFloat16) run.weights = {DataType::kBFloat16, MasterWeights::kFp32};
      run.checkpoint_folder =
          absl::StrCat(folder.path(), "/", projected, ranks, zero, micro_batch, static_cast<int>(accumulate));
      const std::vector<RankOutcome> outcome = run_ranks(run, ranks, run.checkpoint_folder + "-out");
      for (const RankOutcome& rank : outcome) EXPECT_TRUE(rank.result.ok()) << rank.result.status();
      return outcome[0].observer.losses();
    };
    const std::vector<double> one = losses(1, 1, 12, DataType::kFloat32);
    EXPECT_LT(one.back(), one.front());
    const auto expect_close = [&](const std::vector<double>& found, double tolerance) {
      ASSERT_EQ(found.size(), one.size());
      for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(found[i], one[i], tolerance * one[i]) << i;
    };
    expect_close(losses(3, 3, 2, DataType::kFloat32), 1e-5);
    expect_close(losses(2, 2, 3, DataType::kFloat32), 1e-5);
    expect_close(losses(2, 1, 3, DataType::kBFloat16), 5e-3);
  }
}

TEST(Muon, HeadsAreRefusedWhereTheirRowsAreTheProjectedSide) {
  TestFolder folder;
  RunOptions o = muon_run(folder);
  o.optimizer.muon.split_heads = true;
  o.optimizer.galore->side = ProjectionSide::kLeft;
  const absl::StatusOr<ResolvedJob> job = resolve_job(o);
  ASSERT_TRUE(job.ok()) << job.status();
  const absl::Status refused = engine_shape(o, job->config, 1).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("optimizer.muon.split_heads: the rows of "));
  o.optimizer.galore->side = ProjectionSide::kRight;
  EXPECT_TRUE(engine_shape(o, job->config, 1).ok());
}

// Heads are blocks of rows of which no rank has a part: of more ranks than heads some have none.
TEST(Muon, MoreRanksThanHeadsComputeTheSame) {
  TestFolder folder;
  std::vector<std::vector<double>> all;
  for (const int ranks : {1, 4}) {
    RunOptions o = muon_run(folder, MomentRule::kMuon8bit);
    o.micro_batch = 3;
    o.optimizer.muon.split_heads = true;
    o.optimizer.galore.reset();
    o.model.overrides = {{"num_attention_heads", "2"}, {"num_key_value_heads", "2"}};
    o.checkpoint_folder = absl::StrCat(folder.path(), "/", ranks);
    const std::vector<RankOutcome> run = run_ranks(o, ranks, o.checkpoint_folder + "-out");
    for (const RankOutcome& rank : run) ASSERT_TRUE(rank.result.ok()) << rank.result.status();
    all.push_back(run[0].observer.losses());
  }
  for (size_t i = 0; i < all[0].size(); ++i) EXPECT_NEAR(all[1][i], all[0][i], 5e-4 * all[0][i]);
}

}  // namespace
}  // namespace galleon
