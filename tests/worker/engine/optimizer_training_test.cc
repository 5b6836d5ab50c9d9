// Whole runs under every moment rule and every way of refreshing: ranks, accumulation, per-layer update, resume, plan.
#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/checkpoint.h"

namespace galleon {
namespace {

struct Arm {
  const char* name;
  // Of losses against another order of the same sums.
  double reordered;
  std::function<void(OptimizerOptions&)> change;
  // Of losses in bf16 against fp32: activations are rounded to 8 bits, and eight updates are too few for paths to part.
  double rounded = 4e-3;
  // Embedding and head are two matrices.
  bool untied = false;
};

// fp32 sums in another order move losses by less than this within a few steps (docs/design/galore.md, section 4).
constexpr double kReordered = 1e-5;
// Where numbers are rounded to a few bits, a sum in another order now and then tips one to the neighbouring code.
constexpr double kCoded = 5e-4;

// Compact MLP matrices, 172×24, are then large enough for 8-bit moments.
constexpr int64_t kLargeRank = 24;

void use_muon(OptimizerOptions& o, MomentRule rule) {
  o.rule = rule;
  o.momentum = 0.95;
  o.galore->moments = MomentsAtRefresh::kRotate;
}

// A rule that looks at the whole gradient.
void use_whole_gradients(OptimizerOptions& o, MomentRule rule, double scale) {
  o.rule = rule;
  o.galore.reset();
  o.projection.rank = rule == MomentRule::kApolloMini ? 1 : 8;
  o.projection.refresh_interval = 3;
  o.projection.scale = scale;
}

RunOptions run_of(const Arm& arm, const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.data.validation.clear();
  o.steps = 8;
  o.global_batch = 12;
  o.micro_batch = 2;
  o.optimizer.galore->refresh_interval = 3;
  if (arm.untied) o.model.overrides = {{"tie_word_embeddings", "false"}};
  arm.change(o.optimizer);
  return o;
}

void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance, const char* what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_NEAR(a[i], b[i], tolerance * std::abs(b[i])) << what << ", step " << i + 1;
}

class OptimizerRun : public testing::TestWithParam<Arm> {};

TEST_P(OptimizerRun, RanksAccumulationAndPerLayerUpdateChangeNothingButTheOrderOfSums) {
  TestFolder folder;
  const RunOptions o = run_of(GetParam(), folder);
  auto losses = [&](int ranks, int64_t micro_batch, bool per_layer) {
    RunOptions run = o;
    run.micro_batch = micro_batch;
    run.optimizer.per_layer = per_layer;
    const std::string name = absl::StrCat(folder.path(), "/", ranks, "-", micro_batch, "-", per_layer);
    run.checkpoint_folder = name + "/checkpoints";
    const std::vector<RankOutcome> outcome = run_ranks(run, ranks, name);
    for (const RankOutcome& rank : outcome) EXPECT_TRUE(rank.result.ok()) << rank.result.status();
    return outcome[0].observer.losses();
  };
  const std::vector<double> one = losses(1, 2, false);
  EXPECT_LT(one.back(), one.front() - 0.002);
  expect_close(losses(1, 12, true), one, GetParam().reordered, "one pass, per layer");
  expect_close(losses(2, 2, false), one, GetParam().reordered, "two ranks");
  expect_close(losses(3, 4, true), one, GetParam().reordered, "three ranks, one pass, per layer");
}

TEST_P(OptimizerRun, AStoppedRunGoesOnBitForBitAndOnAnotherNumberOfRanks) {
  TestFolder folder;
  RunOptions o = run_of(GetParam(), folder);
  o.checkpoint_folder = folder.path() + "/whole-checkpoints";
  const std::vector<RankOutcome> whole = run_ranks(o, 2, folder.path() + "/whole");
  ASSERT_TRUE(whole[0].result.ok()) << whole[0].result.status();
  o.checkpoint_folder = folder.path() + "/checkpoints";
  const std::vector<RankOutcome> first = run_ranks(
      o, 2, folder.path() + "/cut", [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 4; });
  ASSERT_TRUE(first[0].result.ok()) << first[0].result.status();
  const std::vector<double> all = whole[0].observer.losses();
  const std::vector<double> expected(all.begin() + 4, all.end());
  for (const int ranks : {2, 1}) {
    RunOptions again = o;
    again.checkpoint_folder = absl::StrCat(o.checkpoint_folder, ranks);
    std::filesystem::copy(o.checkpoint_folder, again.checkpoint_folder, std::filesystem::copy_options::recursive);
    const std::vector<RankOutcome> rest = run_ranks(again, ranks, absl::StrCat(folder.path(), "/on", ranks));
    ASSERT_TRUE(rest[0].result.ok()) << rest[0].result.status();
    if (ranks == 2) {
      EXPECT_EQ(rest[0].observer.losses(), expected);
    } else {
      expect_close(rest[0].observer.losses(), expected, GetParam().reordered, "another number of ranks");
    }
  }
}

TEST_P(OptimizerRun, InBFloat16ItFollowsFp32AndGoesOnBitForBitAndThePlanIsTheLedger) {
  for (const MasterWeights master : {MasterWeights::kNone, MasterWeights::kFp32, MasterWeights::kFp24}) {
    TestFolder folder;
    RunOptions o = run_of(GetParam(), folder);
    o.checkpoint_folder = folder.path() + "/fp32-checkpoints";
    const RankOutcome exact = run_one(o, folder.path() + "/fp32");
    ASSERT_TRUE(exact.result.ok()) << exact.result.status();
    o.weights = {DataType::kBFloat16, master};
    o.checkpoint_folder = folder.path() + "/whole-checkpoints";
    const RankOutcome whole = run_one(o, folder.path() + "/whole");
    ASSERT_TRUE(whole.result.ok()) << whole.result.status();
    expect_close(whole.observer.losses(), exact.observer.losses(), GetParam().rounded, "bf16");

    o.checkpoint_folder = folder.path() + "/checkpoints";
    const std::vector<RankOutcome> first = run_ranks(
        o, 1, folder.path() + "/cut", [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 4; });
    ASSERT_TRUE(first[0].result.ok()) << first[0].result.status();
    const RankOutcome rest = run_one(o, folder.path() + "/cut");
    ASSERT_TRUE(rest.result.ok()) << rest.result.status();
    const std::vector<double> all = whole.observer.losses();
    EXPECT_EQ(rest.observer.losses(), std::vector<double>(all.begin() + 4, all.end()));

    const absl::StatusOr<ResolvedJob> job = resolve_job(o);
    const absl::StatusOr<RankEstimate> plan = dry_run(*engine_shape(o, job->config, 1), "cpu", 0, 1);
    ASSERT_TRUE(plan.ok()) << plan.status();
    for (int i = 0; i < kMemoryCategories; ++i) {
      EXPECT_EQ(plan->by_category[i], whole.observer.ledger[i]) << category_name(static_cast<MemoryCategory>(i));
    }
    EXPECT_EQ(plan->peak_bytes, whole.observer.ledger_peak);
  }
}

TEST_P(OptimizerRun, ThePlanIsTheLedgerOfEveryRank) {
  TestFolder folder;
  // One rank, one pass, per layer, where one accumulator serves all; two ranks, two passes, per step.
  for (const int ranks : {1, 2}) {
    RunOptions o = run_of(GetParam(), folder);
    o.steps = 5;
    o.micro_batch = ranks == 1 ? 12 : 3;
    o.optimizer.per_layer = ranks == 1;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/c", ranks);
    const std::vector<RankOutcome> run = run_ranks(o, ranks, folder.path() + "/out");
    ASSERT_TRUE(run[0].result.ok()) << run[0].result.status();
    const absl::StatusOr<ResolvedJob> job = resolve_job(o);
    const absl::StatusOr<EngineShape> shape = engine_shape(o, job->config, ranks);
    for (int rank = 0; rank < ranks; ++rank) {
      const absl::StatusOr<RankEstimate> plan = dry_run(*shape, "cpu", rank, ranks);
      ASSERT_TRUE(plan.ok());
      for (int i = 0; i < kMemoryCategories; ++i) {
        EXPECT_EQ(plan->by_category[i], run[rank].observer.ledger[i]) << category_name(static_cast<MemoryCategory>(i));
      }
      EXPECT_EQ(plan->peak_bytes, run[rank].observer.ledger_peak);
    }
  }
}

TEST(CapturedEnergy, IsThatOfTheMeanGradientHoweverManyRanksShareIt) {
  TestFolder folder;
  for (const RefreshMethod method : {RefreshMethod::kSubspace, RefreshMethod::kExact}) {
    RunOptions o = run_of({"", 0, [](OptimizerOptions&) {}}, folder);
    o.optimizer.galore->refresh = method;
    o.optimizer.galore->stagger = false;
    o.steps = 4;
    std::vector<double> energies;
    for (const int ranks : {1, 3}) {
      o.micro_batch = 12 / ranks;
      o.checkpoint_folder = absl::StrCat(folder.path(), "/c", ranks, static_cast<int>(method));
      const std::vector<RankOutcome> run = run_ranks(o, ranks, folder.path() + "/out");
      ASSERT_TRUE(run[0].result.ok()) << run[0].result.status();
      energies.push_back(run[0].observer.lines.front().captured_energy);
      energies.push_back(run[0].observer.lines.back().captured_energy);
      EXPECT_EQ(run[0].observer.lines.front().refreshed, 14) << "two layers of seven matrices";
      EXPECT_EQ(run[0].observer.lines.back().refreshed, 14);
    }
    for (const double energy : energies) {
      EXPECT_GT(energy, 0.2);
      EXPECT_LT(energy, 1.0);
    }
    // Three ranks estimate what one subspace does not keep, from 16 probes.
    const double tolerance = method == RefreshMethod::kExact ? 1e-4 : 0.02;
    EXPECT_NEAR(energies[2], energies[0], tolerance);
    EXPECT_NEAR(energies[3], energies[1], tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, OptimizerRun,
    testing::Values(
        Arm{"Adam8bit", kCoded,
            [](OptimizerOptions& o) {
              o.rule = MomentRule::kAdam8bit;
              o.epsilon = 1e-8;
              o.weight_decay = 0.01;
            }},
        Arm{"Adam8bitFullRankLargeBlocks", kCoded,
            [](OptimizerOptions& o) {
              o.rule = MomentRule::kAdam8bit;
              o.epsilon = 1e-8;
              o.block_size = 2048;
              o.galore.reset();
            }},
        Arm{"Adam8bitRotated", kCoded,
            [](OptimizerOptions& o) {
              o.rule = MomentRule::kAdam8bit;
              o.epsilon = 1e-8;
              o.galore->moments = MomentsAtRefresh::kRotate;
              o.galore->stagger = false;
            }},
        Arm{"Flash", kCoded,
            [](OptimizerOptions& o) {
              o.state_type = StateType::kFlash;
              o.galore->rank = kLargeRank;
              o.galore->moments = MomentsAtRefresh::kRotate;
              o.weight_decay = 0.01;
            }},
        Arm{"FlashFullRank", kCoded,
            [](OptimizerOptions& o) {
              o.state_type = StateType::kFlash;
              o.galore.reset();
            }},
        Arm{"FlashMuon", kCoded,
            [](OptimizerOptions& o) {
              use_muon(o, MomentRule::kMuon);
              o.state_type = StateType::kFlash;
              o.galore->rank = kLargeRank;
            }},
        Arm{"FlashMuonHeadsFullRank", kCoded,
            [](OptimizerOptions& o) {
              use_muon(o, MomentRule::kMuon);
              o.state_type = StateType::kFlash;
              o.muon.split_heads = true;
              o.galore.reset();
            }},
        Arm{"Adafactor", kReordered,
            [](OptimizerOptions& o) {
              o.rule = MomentRule::kAdafactor;
              o.beta1 = 0;
              o.epsilon = 1e-30;
              o.weight_decay = 0.1;
            }},
        Arm{"AdafactorFullRankFirstMoment", kReordered,
            [](OptimizerOptions& o) {
              o.rule = MomentRule::kAdafactor;
              o.epsilon = 1e-30;
              o.galore.reset();
            }},
        Arm{"AdafactorTwoSidedRotated", kReordered,
            [](OptimizerOptions& o) {
              o.rule = MomentRule::kAdafactor;
              o.epsilon = 1e-30;
              o.galore->side = ProjectionSide::kFull;
              o.galore->moments = MomentsAtRefresh::kRotate;
            }},
        Arm{"Sgd", kReordered,
            [](OptimizerOptions& o) {
              o.rule = MomentRule::kSgd;
              o.learning_rate = 0.1;
              o.galore->moments = MomentsAtRefresh::kRotate;
            }},
        Arm{"SgdFullRankWithoutMomentum", kReordered,
            [](OptimizerOptions& o) {
              o.rule = MomentRule::kSgd;
              o.learning_rate = 0.5;
              o.momentum = 0;
              o.clip_norm = 0;
              o.galore.reset();
            },
            /* steps as long as the gradient pass its rounding on: */ 2e-2},
        Arm{"Muon", kReordered, [](OptimizerOptions& o) { use_muon(o, MomentRule::kMuon); }},
        Arm{"MuonFullRankPolarExpress", kReordered,
            [](OptimizerOptions& o) {
              use_muon(o, MomentRule::kMuon);
              o.muon.iteration = MuonIteration::kPolarExpress;
              o.muon.nesterov = false;
              o.weight_decay = 0.1;
              o.galore.reset();
            }},
        Arm{"MuonHeads", kReordered,
            [](OptimizerOptions& o) {
              use_muon(o, MomentRule::kMuon);
              o.muon.split_heads = true;
              o.galore->side = ProjectionSide::kRight;
            }},
        Arm{"MuonHeadsFullRank8bit", kCoded,
            [](OptimizerOptions& o) {
              use_muon(o, MomentRule::kMuon8bit);
              o.muon.split_heads = true;
              o.galore.reset();
            }},
        Arm{"Muon8bit", kCoded,
            [](OptimizerOptions& o) {
              use_muon(o, MomentRule::kMuon8bit);
              o.galore->rank = kLargeRank;
            }},
        Arm{"MuonTwoSided", kReordered,
            [](OptimizerOptions& o) {
              use_muon(o, MomentRule::kMuon);
              o.galore->side = ProjectionSide::kFull;
            }},
        Arm{"Scale", kReordered,
            [](OptimizerOptions& o) {
              use_whole_gradients(o, MomentRule::kScale, 1);
              o.learning_rate = 0.003;
            },
            4e-3, true},
        Arm{"Apollo", kReordered, [](OptimizerOptions& o) { use_whole_gradients(o, MomentRule::kApollo, 1); }},
        Arm{"ApolloMini", kReordered, [](OptimizerOptions& o) { use_whole_gradients(o, MomentRule::kApolloMini, 64); }},
        Arm{"Fira", kReordered, [](OptimizerOptions& o) { use_whole_gradients(o, MomentRule::kFira, 0.25); }},
        Arm{"FiraScaledResidualDecayed", kReordered,
            [](OptimizerOptions& o) {
              use_whole_gradients(o, MomentRule::kFira, 0.25);
              o.projection.residual = Residual::kScaled;
              o.weight_decay = 0.1;
            }},
        Arm{"TwoSided", kReordered, [](OptimizerOptions& o) { o.galore->side = ProjectionSide::kFull; }},
        Arm{"TwoSidedExactInt8", kCoded,
            [](OptimizerOptions& o) {
              o.galore->side = ProjectionSide::kFull;
              o.galore->refresh = RefreshMethod::kExact;
              o.galore->basis_type = BasisType::kInt8;
              o.galore->refresh_interval = 20;
            }},
        Arm{"Bf16Bases", kCoded, [](OptimizerOptions& o) { o.galore->basis_type = BasisType::kBf16; }},
        Arm{"Int8Bases", kCoded, [](OptimizerOptions& o) { o.galore->basis_type = BasisType::kInt8; }},
        Arm{"Int4Bases", kCoded, [](OptimizerOptions& o) { o.galore->basis_type = BasisType::kInt4; }},
        Arm{"Rotated", kReordered, [](OptimizerOptions& o) { o.galore->moments = MomentsAtRefresh::kRotate; }},
        Arm{"Lazy", kReordered,
            [](OptimizerOptions& o) {
              o.galore->lazy_threshold = 0.3;
              o.galore->refresh_interval = 2;
            }},
        Arm{"RandomBases", kReordered, [](OptimizerOptions& o) { o.galore->refresh = RefreshMethod::kRandom; }},
        Arm{"ExactFirstBasis", kReordered,
            [](OptimizerOptions& o) {
              o.galore->exact_first_basis = true;
              o.galore->refresh_interval = 20;
            }}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace galleon
