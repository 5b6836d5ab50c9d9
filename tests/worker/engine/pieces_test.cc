// Gradients that are formed and used up in pieces: a matrix under refresh in bands of its rows, those over a vocabulary
// by rows that are updated one range after the other.
#include <set>

#include "kernels/ops/linear.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/optim/row_tiles.h"
#include "worker/engine/optim/subspace_iteration.h"

namespace galleon {
namespace {

// Sums in another order alone (docs/design/galore.md, section 4): before the second refresh.
constexpr double kReordered = 1e-5;
constexpr int kGradients = static_cast<int>(MemoryCategory::kGradients);

// One pass a step, updated layer by layer; few tokens beside the width, so that the gradients of logits are smaller
// than the head's.
RunOptions one_pass(const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.model.overrides = {{"tie_word_embeddings", "false"}, {"num_hidden_layers", "4"}};
  o.data.sequence_length = 8;
  o.global_batch = 4;
  o.micro_batch = 4;
  o.optimizer.per_layer = true;
  o.evaluate_every = 6;
  return o;
}

// 16 rows of what is 64 numbers wide, 5 of what is 172.
constexpr int64_t kPiece = 4096;

struct Outcome {
  std::vector<double> losses;
  std::string weights;
  int64_t gradients = 0;
};

Outcome run(RunOptions o, const std::string& folder) {
  o.checkpoint_folder = folder + "/checkpoints";
  const RankOutcome outcome = run_one(o, folder);
  EXPECT_TRUE(outcome.result.ok()) << outcome.result.status();
  absl::StatusOr<std::string> weights = read_file(o.checkpoint_folder + "/step-00000012/model.safetensors");
  EXPECT_TRUE(weights.ok()) << weights.status();
  absl::StatusOr<EngineShape> shape = engine_shape(o, resolve_job(o)->config, 1);
  absl::StatusOr<RankEstimate> plan = dry_run(*shape, "cpu", 0, 1);
  EXPECT_TRUE(plan.ok());
  for (int i = 0; i < kMemoryCategories; ++i) EXPECT_EQ(plan->by_category[i], outcome.observer.ledger[i]) << i;
  EXPECT_EQ(plan->peak_bytes, outcome.observer.ledger_peak);
  return {outcome.observer.losses(), weights.ok() ? *weights : "", plan->by_category[kGradients]};
}

TEST(Pieces, ARunComputesWhatItComputesWithWholeGradientsUpToTheOrderOfSums) {
  for (const MomentRule rule : {MomentRule::kAdamW, MomentRule::kSgd}) {
    for (const ProjectionSide side : {ProjectionSide::kStd, ProjectionSide::kFull}) {
      TestFolder folder;
      RunOptions o = one_pass(folder);
      o.optimizer.rule = rule;
      o.optimizer.galore->side = side;
      o.optimizer.galore->refresh_interval = 12;
      o.optimizer.galore->stagger = false;
      const Outcome whole = run(o, folder.path() + "/whole");
      o.optimizer.piece_bytes = kPiece;
      const Outcome pieces = run(o, folder.path() + "/pieces");
      ASSERT_EQ(pieces.losses.size(), whole.losses.size());
      for (size_t i = 0; i < whole.losses.size(); ++i)
        EXPECT_NEAR(pieces.losses[i], whole.losses[i], kReordered * whole.losses[i]) << i;
      // The head's gradient and that of the widest matrix are the largest: 260×64 and 172×64 numbers.
      EXPECT_LT(pieces.gradients, whole.gradients - 4 * (260 + 172 - 100) * 64);
    }
  }
}

TEST(Pieces, AVocabularyIsTrainedByRowsBesideAdaptersToo) {
  TestFolder folder;
  RunOptions o = one_pass(folder);
  o.optimizer.galore.reset();
  o.optimizer.lora = LoraOptions{};
  o.optimizer.lora->rank = 4;
  o.optimizer.lora->dropout = 0.1;
  const Outcome whole = run(o, folder.path() + "/whole");
  o.optimizer.piece_bytes = kPiece;
  o.recompute = true;
  o.kept_inputs = 2;
  const Outcome pieces = run(o, folder.path() + "/pieces");
  ASSERT_EQ(pieces.losses.size(), whole.losses.size());
  for (size_t i = 0; i < whole.losses.size(); ++i)
    EXPECT_NEAR(pieces.losses[i], whole.losses[i], kReordered * whole.losses[i]) << i;
  EXPECT_LT(pieces.gradients, whole.gradients / 4);
}

TEST(Pieces, RecomputationChangesNoBitAndMayUseTheMemoryOfTheHead) {
  TestFolder folder;
  RunOptions o = one_pass(folder);
  o.optimizer.piece_bytes = kPiece;
  o.optimizer.rule = MomentRule::kAdam8bit;
  o.optimizer.epsilon = 1e-8;
  o.optimizer.galore->rank = 24;
  for (const DataType type : {DataType::kFloat32, DataType::kBFloat16}) {
    o.weights.type = type;
    o.recompute = false;
    o.kept_inputs = 0;
    const Outcome kept = run(o, absl::StrCat(folder.path(), "/kept", type_name(type)));
    o.recompute = true;
    for (const int64_t inputs : {0, 2}) {
      o.kept_inputs = inputs;
      const Outcome again = run(o, absl::StrCat(folder.path(), "/again", type_name(type), inputs));
      EXPECT_EQ(again.losses, kept.losses) << inputs;
      EXPECT_TRUE(again.weights == kept.weights) << inputs;
    }
  }
}

TEST(Pieces, ARunGoesOnBitForBitAcrossARefresh) {
  TestFolder folder;
  RunOptions o = one_pass(folder);
  o.optimizer.piece_bytes = kPiece;
  o.optimizer.galore->refresh_interval = 3;
  o.recompute = true;
  const RankOutcome whole = run_one(o, folder.path() + "/whole");
  ASSERT_TRUE(whole.result.ok()) << whole.result.status();
  o.checkpoint_folder += "-cut";
  ASSERT_TRUE(run_one(o, folder.path() + "/cut", [](int, RecordingObserver& observer, RunContext&) {
                observer.stop_after = 5;
              }).result.ok());
  const RankOutcome rest = run_one(o, folder.path() + "/cut");
  ASSERT_TRUE(rest.result.ok()) << rest.result.status();
  const std::vector<double> expected = whole.observer.losses();
  EXPECT_EQ(rest.observer.losses(), std::vector<double>(expected.begin() + 5, expected.end()));
}

TEST(Pieces, BandsOfAGradientGiveTheBasisOfTheWhole) {
  const std::unique_ptr<Device> device = make_cpu_device(2);
  const std::unique_ptr<Communicator> alone = make_single_communicator(*device);
  Arena arena(*device);
  constexpr int64_t kTokens = 40;
  constexpr int64_t kRows = 150;
  constexpr int64_t kColumns = 24;
  constexpr int64_t kRank = 6;
  auto tensor = [&](int64_t rows, int64_t columns) {
    return arena.tensor("operand", MemoryCategory::kActivations, rows, columns);
  };
  std::mt19937_64 random(1);
  std::normal_distribution<float> number;
  const Tensor a = tensor(kTokens, kRows);
  const Tensor b = tensor(kTokens, kColumns);
  for (const Tensor& t : {a, b}) {
    // Tokens of falling weight: a spectrum that an iteration finds its way in.
    for (int64_t i = 0; i < t.size(); ++i) t.f32()[i] = number(random) / static_cast<float>(1 + i / t.columns);
  }
  const Tensor g = tensor(kRows, kColumns);
  matmul(*device, a, Transpose::kYes, b, Transpose::kNo, g);
  const Tensor range = tensor(kRows, kRank);
  const Tensor expected = tensor(kColumns, kRank);
  start_basis(*device, expected, 3);
  RowTiles whole(g);
  ASSERT_TRUE(find_first_basis(*device, *alone, whole, expected, range, 0, 3));
  const double energy = estimate_energy(*device, *alone, whole, expected, 5);
  for (const int64_t rows : {1, 64, 100, 150}) {
    RowTiles bands(*device, a, b, tensor(rows, kColumns));
    std::set<int64_t> firsts;
    bands.visit([&](int64_t first, const Tensor& band) {
      firsts.insert(first);
      for (int64_t i = 0; i < band.rows; ++i) {
        for (int64_t j = 0; j < kColumns; ++j)
          EXPECT_NEAR(band.f32()[i * kColumns + j], g.f32()[(first + i) * kColumns + j], 1e-5);
      }
    });
    EXPECT_EQ(static_cast<int64_t>(firsts.size()), (kRows + rows - 1) / rows);
    const Tensor basis = tensor(kColumns, kRank);
    start_basis(*device, basis, 3);
    ASSERT_TRUE(find_first_basis(*device, *alone, bands, basis, range, 0, 3));
    // Eight iterations of fp32 sums in another order.
    for (int64_t i = 0; i < basis.size(); ++i) EXPECT_NEAR(basis.f32()[i], expected.f32()[i], 1e-3);
    EXPECT_NEAR(estimate_energy(*device, *alone, bands, basis, 5), energy, 1e-3 * energy);
  }
}

}  // namespace
}  // namespace galleon
