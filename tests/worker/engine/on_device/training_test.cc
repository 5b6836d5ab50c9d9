// Whole runs on the device of this binary, the executor of the CUDA kernels or a GPU, beside the same runs on the CPU:
// forward, backward, refreshes, moment rules, weight updates, evaluation, checkpoints. The executor's memory is closed
// to the host, so that a place which forgets to download ends the test.
#include "tests/worker/engine/labelled_letters.h"
#include "tests/worker/engine/test_device.h"

namespace galleon {
namespace {

// fp32 sums in another order move losses by less than this within a few steps (docs/design/galore.md, section 4).
constexpr double kReordered = 1e-5;
// Where numbers are rounded to a few bits, a sum in another order now and then tips one to the neighbouring code.
constexpr double kCoded = 5e-4;
// The same of activations with 8 bits: an eighth of the 4e-3 by which such runs differ from fp32.
constexpr double kRounded = 5e-4;

struct Arm {
  const char* name;
  double tolerance;  // of losses, relative
  std::function<void(RunOptions&)> change;
};

void PrintTo(const Arm& arm, std::ostream* out) {
  *out << arm.name;
}

RankOutcome run_on_device(const RunOptions& options, const std::string& output, int64_t stop_after = 0) {
  return std::move(run_ranks(
      options, 1, output, [&](int, RecordingObserver& observer, RunContext&) { observer.stop_after = stop_after; },
      [] { return make_test_device(1); })[0]);
}

void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance * std::abs(b[i])) << "step " << i + 1;
}

class OnDevice : public testing::TestWithParam<Arm> {};

TEST_P(OnDevice, ARunHasTheLossesOfTheCpuAndGoesOnBitForBit) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 5;
  o.global_batch = 4;
  o.micro_batch = 2;
  o.evaluate_every = 5;
  o.evaluate_tokens = 128;
  o.optimizer.galore->refresh_interval = 2;
  GetParam().change(o);
  o.checkpoint_folder = folder.path() + "/on-cpu";
  const RankOutcome cpu = run_one(o, folder.path() + "/cpu");
  ASSERT_TRUE(cpu.result.ok()) << cpu.result.status();
  o.checkpoint_folder = folder.path() + "/on-device";
  const RankOutcome whole = run_on_device(o, folder.path() + "/device");
  ASSERT_TRUE(whole.result.ok()) << whole.result.status();
  expect_close(whole.observer.losses(), cpu.observer.losses(), GetParam().tolerance);
  ASSERT_EQ(whole.observer.evaluations.size(), 1U);
  EXPECT_NEAR(whole.observer.evaluations[0].validation_loss, cpu.observer.evaluations[0].validation_loss,
              GetParam().tolerance * cpu.observer.evaluations[0].validation_loss);

  o.checkpoint_folder = folder.path() + "/cut";
  const RankOutcome first = run_on_device(o, folder.path() + "/first", 3);
  ASSERT_TRUE(first.result.ok()) << first.result.status();
  const RankOutcome rest = run_on_device(o, folder.path() + "/rest");
  ASSERT_TRUE(rest.result.ok()) << rest.result.status();
  const std::vector<double> all = whole.observer.losses();
  EXPECT_EQ(rest.observer.losses(), std::vector<double>(all.begin() + 3, all.end()));
}

TEST(EncoderOnDevice, AClassificationHasTheLossesAndMetricsOfTheCpu) {
  for (const bool rounded : {false, true}) {
    SCOPED_TRACE(rounded ? "bf16" : "fp32 with dropout");
    TestFolder folder;
    RunOptions o = classification(folder);
    o.model.source = o.tokenizer = letters_model(folder, rounded ? 0.0 : 0.1);
    o.data.validation = {folder.write("few.tsv", labelled_letters(9, 2))};
    o.global_batch = 8;
    o.micro_batch = 4;
    o.steps = o.evaluate_every = 3;
    if (rounded) o.weights = {DataType::kBFloat16};
    o.checkpoint_folder = folder.path() + "/on-cpu";
    const RankOutcome cpu = run_one(o, folder.path() + "/cpu");
    ASSERT_TRUE(cpu.result.ok()) << cpu.result.status();
    o.checkpoint_folder = folder.path() + "/on-device";
    const RankOutcome device = run_on_device(o, folder.path() + "/device");
    ASSERT_TRUE(device.result.ok()) << device.result.status();
    const double tolerance = rounded ? 2e-3 : kReordered;
    expect_close(device.observer.losses(), cpu.observer.losses(), tolerance);
    ASSERT_EQ(device.observer.evaluations.size(), 1U);
    const double loss = cpu.observer.evaluations[0].validation_loss;
    EXPECT_NEAR(device.observer.evaluations[0].validation_loss, loss, tolerance * loss);
  }
}

void use_whole_gradients(OptimizerOptions& o, MomentRule rule, double scale) {
  o.rule = rule;
  o.galore.reset();
  o.projection.rank = rule == MomentRule::kApolloMini ? 1 : 8;
  o.projection.refresh_interval = 3;
  o.projection.scale = scale;
}

std::vector<Arm> arms() {
  return {
      {"AdamW", kReordered, [](RunOptions&) {}},
      {"AdamWFullRankPerLayer", kReordered,
       [](RunOptions& o) {
         o.optimizer.galore.reset();
         o.optimizer.per_layer = true;
       }},
      {"AdamWExactClipped", kReordered,
       [](RunOptions& o) {
         o.optimizer.galore->refresh = RefreshMethod::kExact;
         o.optimizer.clip_norm = 0.5;
         o.optimizer.weight_decay = 0.1;
       }},
      {"AdamWTwoSidedRotated", kReordered,
       [](RunOptions& o) {
         o.optimizer.galore->side = ProjectionSide::kFull;
         o.optimizer.galore->moments = MomentsAtRefresh::kRotate;
       }},
      {"PerLayerOnePassRecomputed", kReordered,
       [](RunOptions& o) {
         o.optimizer.per_layer = true;
         o.micro_batch = 4;
         o.recompute = true;
       }},
      {"Adam8bit", kCoded,
       [](RunOptions& o) {
         o.optimizer.rule = MomentRule::kAdam8bit;
         o.optimizer.epsilon = 1e-8;
         o.optimizer.galore->rank = 24;  // compact matrices are then large enough for 8 bits
       }},
      {"Adam8bitRotatedInt8BasesPerLayer", kCoded,
       [](RunOptions& o) {
         o.optimizer.rule = MomentRule::kAdam8bit;
         o.optimizer.epsilon = 1e-8;
         o.optimizer.galore->rank = 24;
         o.optimizer.galore->moments = MomentsAtRefresh::kRotate;
         o.optimizer.galore->basis_type = BasisType::kInt8;
         o.optimizer.per_layer = true;
         o.micro_batch = 4;
       }},
      {"Adafactor", kReordered,
       [](RunOptions& o) {
         o.optimizer.rule = MomentRule::kAdafactor;
         o.optimizer.beta1 = 0;
         o.optimizer.epsilon = 1e-30;
         o.optimizer.weight_decay = 0.1;
       }},
      {"AdafactorFullRankFirstMoment", kReordered,
       [](RunOptions& o) {
         o.optimizer.rule = MomentRule::kAdafactor;
         o.optimizer.epsilon = 1e-30;
         o.optimizer.galore.reset();
       }},
      {"SgdInt4Bases", kCoded,
       [](RunOptions& o) {
         o.optimizer.rule = MomentRule::kSgd;
         o.optimizer.learning_rate = 0.1;
         o.optimizer.galore->basis_type = BasisType::kInt4;
       }},
      {"MuonRotated", kReordered,
       [](RunOptions& o) {
         o.optimizer.rule = MomentRule::kMuon;
         o.optimizer.momentum = 0.95;
         o.optimizer.galore->moments = MomentsAtRefresh::kRotate;
         o.z_loss = 1e-3;
       }},
      {"Muon8bitFullRankHeads", kCoded,
       [](RunOptions& o) {
         o.optimizer.rule = MomentRule::kMuon8bit;
         o.optimizer.momentum = 0.95;
         o.optimizer.muon.split_heads = true;
         o.optimizer.galore.reset();
       }},
      {"Scale", kReordered,
       [](RunOptions& o) {
         use_whole_gradients(o.optimizer, MomentRule::kScale, 1);
         o.optimizer.learning_rate = 0.003;
         o.model.overrides = {{"tie_word_embeddings", "false"}};
       }},
      {"ApolloAccumulated", kReordered,
       [](RunOptions& o) {
         use_whole_gradients(o.optimizer, MomentRule::kApollo, 1);
         o.micro_batch = 2;
       }},
      {"ApolloMini", kReordered, [](RunOptions& o) { use_whole_gradients(o.optimizer, MomentRule::kApolloMini, 64); }},
      {"FiraInBandsBFloat16", kRounded,
       [](RunOptions& o) {
         use_whole_gradients(o.optimizer, MomentRule::kFira, 0.25);
         o.weights = {DataType::kBFloat16};
         o.micro_batch = 4;
       }},
      {"FiraScaledResidualDecayed", kReordered,
       [](RunOptions& o) {
         use_whole_gradients(o.optimizer, MomentRule::kFira, 0.25);
         o.optimizer.projection.residual = Residual::kScaled;
         o.optimizer.weight_decay = 0.1;
       }},
      {"FlashRotated", kCoded,
       [](RunOptions& o) {
         o.optimizer.state_type = StateType::kFlash;
         o.optimizer.galore->rank = 24;
         o.optimizer.galore->moments = MomentsAtRefresh::kRotate;
       }},
      {"FlashMuonFullRankMaster24", kRounded,
       [](RunOptions& o) {
         o.weights = {DataType::kBFloat16, MasterWeights::kFp24};
         o.optimizer.rule = MomentRule::kMuon;
         o.optimizer.momentum = 0.95;
         o.optimizer.state_type = StateType::kFlash;
         o.optimizer.galore.reset();
       }},
      {"LoraWithDropout", kReordered,
       [](RunOptions& o) {
         o.optimizer.galore.reset();
         o.optimizer.lora = LoraOptions{};
         o.optimizer.lora->rank = 4;
         o.optimizer.lora->dropout = 0.1;
       }},
      {"BFloat16", kRounded, [](RunOptions& o) { o.weights = {DataType::kBFloat16}; }},
      {"BFloat16TensorCores", kRounded,
       [](RunOptions& o) {
         o.weights = {DataType::kBFloat16};
         o.model.overrides = {{"num_attention_heads", "1"}, {"num_key_value_heads", "1"}};
       }},
      {"BFloat16MasterBFloat16BasesRecomputed", kRounded,
       [](RunOptions& o) {
         o.weights = {DataType::kBFloat16, MasterWeights::kFp32};
         o.optimizer.galore->basis_type = BasisType::kBf16;
         o.recompute = true;
       }},
      {"Adam8bitBFloat16PerLayerOnePass", kRounded,
       [](RunOptions& o) {
         o.weights = {DataType::kBFloat16};
         o.optimizer.rule = MomentRule::kAdam8bit;
         o.optimizer.epsilon = 1e-8;
         o.optimizer.galore->rank = 24;
         o.optimizer.per_layer = true;
         o.micro_batch = 4;
       }},
      {"InPiecesWithTwoKeptInputs", kReordered,
       [](RunOptions& o) {
         o.model.overrides = {{"tie_word_embeddings", "false"}, {"num_hidden_layers", "4"}};
         // Few tokens, so that the head is updated by rows.
         o.data.sequence_length = 8;
         o.optimizer.per_layer = true;
         o.optimizer.piece_bytes = 4096;
         o.micro_batch = 4;
         o.recompute = true;
         o.kept_inputs = 2;
       }},
  };
}

INSTANTIATE_TEST_SUITE_P(All, OnDevice, testing::ValuesIn(arms()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace galleon
