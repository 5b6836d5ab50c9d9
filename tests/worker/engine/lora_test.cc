// LoRA adapters: against peft (tests/fixtures/make_lora.py), against themselves over ranks, passes and resumes, and
// merged on export.
#include "worker/engine/model/lora.h"
#include "tests/worker/engine/dense_sink.h"
#include "tests/worker/engine/reference_support.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/adapters.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/model/decoder.h"
#include "worker/engine/model/model_parameters.h"
#include "worker/engine/run/evaluation.h"

namespace galleon {
namespace {

// As for the model without adapters: rounding of 52-term sums, a dozen times over.
constexpr double kTolerance = 2e-5;
// fp32 sums in another order move losses by less than this within a short run.
constexpr double kReordered = 1e-5;

LoraOptions of_fixture(const SafetensorsReader& reference) {
  LoraOptions lora;
  lora.rank = std::stoi(reference.metadata().at("rank"));
  lora.alpha = std::stod(reference.metadata().at("alpha"));
  return lora;
}

// The fixture's model on one device.
struct ReferenceModel {
  ReferenceModel(const SafetensorsReader& reference, const LoraOptions& options, Activations kept)
      : lora(options), device(make_cpu_device(2)), arena(*device) {
    absl::StatusOr<ModelConfig> config = model_config_from_json(reference.metadata().at("config"), "fixture", {});
    EXPECT_TRUE(config.ok()) << config.status();
    parameters = model_parameters(*config, std::nullopt);
    add_adapters(parameters, lora);
    allocate_weights(parameters, {}, arena);
    model = std::make_unique<Decoder>(*config, parameters, 3, 17, kept, arena, lora);
    EXPECT_TRUE(arena.status().ok());
    for (const Parameter& p : parameters) set_weight(p, *device, fixture(reference, p.name).data());
    batch = batch_fixture(reference);
    trained = trained_parameters(parameters);
  }

  LoraOptions lora;
  std::unique_ptr<Device> device;
  Arena arena;
  std::vector<Parameter> parameters, trained;
  std::unique_ptr<Decoder> model;
  Batch batch;
};

TEST(LoraReference, LossAndTheGradientsOfAllThatIsTrainedAreThoseOfPeft) {
  const SafetensorsReader reference = open_fixture("llama_lora");
  const double loss = std::stod(reference.metadata().at("loss_sum"));
  const float scale = 1.0F / std::stof(reference.metadata().at("counted"));
  for (const Activations kept : {Activations::kAll, Activations::kBlockInputs}) {
    for (const bool train_rest : {true, false}) {
      LoraOptions lora = of_fixture(reference);
      lora.train_rest = train_rest;
      ReferenceModel m(reference, lora, kept);
      EXPECT_NEAR(m.model->forward_loss(m.batch), loss, kTolerance * loss);
      // A sink with no place for what is frozen: a gradient of it would be a call beyond its parameters.
      DenseSink sink(m.trained, *m.device);
      EXPECT_NEAR(m.model->forward_backward(m.batch, scale, sink, {}), loss, kTolerance * loss);
      EXPECT_EQ(m.trained.size(), 2U * 7 * 2 + (train_rest ? 3 + 2 * 2 : 0));
      for (const Parameter& p : m.trained) {
        EXPECT_LT(relative_difference(sink.gradient(p.index, *m.device), fixture(reference, "gradient." + p.name)),
                  kTolerance)
            << p.name;
        EXPECT_EQ(sink.times_finished(p.index), 1) << p.name;
      }
    }
  }
}

TEST(LoraReference, AMergedMatrixIsThatOfPeft) {
  const SafetensorsReader reference = open_fixture("llama_lora");
  ReferenceModel m(reference, of_fixture(reference), Activations::kAll);
  int merged = 0;
  for (const Parameter& p : m.parameters) {
    if (p.adapter < 0) continue;
    ++merged;
    EXPECT_LT(
        relative_difference(merged_weight(p, m.parameters, m.lora, *m.device), fixture(reference, "merged." + p.name)),
        1e-6)
        << p.name;
  }
  EXPECT_EQ(merged, 14);
}

TEST(LoraReference, WithDropoutTheGradientIsThatOfTheLossUnderTheSameMasks) {
  const SafetensorsReader reference = open_fixture("llama_lora");
  LoraOptions lora = of_fixture(reference);
  lora.dropout = 0.3;
  ReferenceModel m(reference, lora, Activations::kBlockInputs);
  DenseSink sink(m.trained, *m.device);
  const PassPlace place{5, 340};
  auto loss = [&] {
    DenseSink ignored(m.trained, *m.device);
    return m.model->forward_backward(m.batch, 1.0F, ignored, place);
  };
  const double at_point = m.model->forward_backward(m.batch, 1.0F, sink, place);
  EXPECT_EQ(loss(), at_point) << "the masks of a place are always the same";
  EXPECT_NE(m.model->forward_loss(m.batch), at_point);
  for (const Parameter& p : m.trained) {
    if (!p.of_adapter) continue;
    const std::vector<float> gradient = sink.gradient(p.index, *m.device);
    const std::vector<float> weight = get_weight(p, *m.device);
    double squares = 0;
    for (const float g : gradient) squares += static_cast<double>(g) * g;
    // A central difference along the gradient itself, with a step that moves the loss of 212 by about 0.2: the rounding
    // of the loss and its curvature both leave some 1e-3 of that.
    const double h = 0.1 / squares;
    double moved[2];
    for (const int side : {0, 1}) {
      std::vector<float> shifted = weight;
      for (size_t i = 0; i < shifted.size(); ++i) shifted[i] += static_cast<float>((side == 0 ? h : -h) * gradient[i]);
      set_weight(p, *m.device, shifted.data());
      moved[side] = loss();
    }
    set_weight(p, *m.device, weight.data());
    EXPECT_NEAR((moved[0] - moved[1]) / (2 * h * squares), 1.0, 0.01) << p.name;
  }
}

RunOptions lora_run(const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.model.overrides = {{"tie_word_embeddings", "false"}};
  o.optimizer.galore.reset();
  o.optimizer.lora = LoraOptions{};
  o.optimizer.lora->rank = 4;
  o.optimizer.lora->alpha = 8;
  o.optimizer.lora->dropout = 0.1;
  return o;
}

void expect_close(const std::vector<double>& a, const std::vector<double>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], kReordered * b[i]) << "step " << i + 1;
}

TEST(Lora, RanksPassesAndUpdateModesChangeNothingButTheOrderOfSums) {
  TestFolder folder;
  for (const bool train_rest : {true, false}) {
    RunOptions o = lora_run(folder);
    o.optimizer.lora->train_rest = train_rest;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/base", train_rest);
    const RankOutcome base = run_one(o, folder.path() + "/base-out");
    ASSERT_TRUE(base.result.ok()) << base.result.status();
    EXPECT_LT(base.observer.lines.back().loss, base.observer.lines.front().loss);
    for (const int ranks : {1, 2}) {
      for (const int64_t micro_batch : {2, 4}) {
        RunOptions other = o;
        other.micro_batch = micro_batch;
        other.optimizer.per_layer = ranks == 1;
        other.recompute = micro_batch == 2;
        other.checkpoint_folder = absl::StrCat(folder.path(), "/c", train_rest, ranks, micro_batch);
        const std::vector<RankOutcome> run = run_ranks(other, ranks, folder.path() + "/out");
        ASSERT_TRUE(run[0].result.ok()) << run[0].result.status();
        expect_close(run[0].observer.losses(), base.observer.losses());
      }
    }
  }
}

TEST(Lora, TrainingBeginsWithTheModelWithoutAdapters) {
  TestFolder folder;
  RunOptions o = lora_run(folder);
  o.steps = 1;
  const RankOutcome with = run_one(o, folder.path() + "/with");
  o.optimizer.lora.reset();
  o.checkpoint_folder += "-without";
  const RankOutcome without = run_one(o, folder.path() + "/without");
  ASSERT_TRUE(with.result.ok() && without.result.ok()) << with.result.status();
  EXPECT_EQ(with.observer.lines[0].loss, without.observer.lines[0].loss);
}

TEST(Lora, AdaptersBeginUniformWithinOneOverTheRootOfTheWidthAndZero) {
  std::unique_ptr<Device> device = make_cpu_device(1);
  Arena arena(*device);
  absl::StatusOr<ModelConfig> config = model_preset("tiny");
  std::vector<Parameter> parameters = model_parameters(*config, std::nullopt);
  LoraOptions lora;
  lora.rank = 16;
  add_adapters(parameters, lora);
  allocate_weights(parameters, {}, arena);
  initialize_adapters(parameters, *device, 42);
  for (const Parameter& p : parameters) {
    if (p.adapter < 0) continue;
    const std::vector<float> a = get_weight(parameters[p.adapter], *device);
    const double bound = 1 / std::sqrt(static_cast<double>(p.in));
    double sum = 0;
    double squares = 0;
    for (const float v : a) {
      EXPECT_LE(std::abs(v), bound);
      sum += v;
      squares += static_cast<double>(v) * v;
    }
    const auto count = static_cast<double>(a.size());
    // Five standard deviations of the mean, and of the mean square, of uniform numbers.
    EXPECT_NEAR(sum / count, 0, 5 * bound / std::sqrt(3 * count));
    EXPECT_NEAR(squares / count, bound * bound / 3, 5 * bound * bound * std::sqrt(4.0 / 45 / count));
    for (const float v : get_weight(parameters[p.adapter + 1], *device)) EXPECT_EQ(v, 0);
  }
}

TEST(Lora, OnlyAdaptersHaveGradientsAndMomentsAndThePlanSaysSo) {
  TestFolder folder;
  // Both adapters of q, k, v, o (64×64) and of gate, up, down (172×64) in two blocks; what else is trained.
  constexpr int64_t kAdapters = int64_t{2} * 4 * (4 * (64 + 64) + 3 * (64 + 172));
  constexpr int64_t kRest = int64_t{2} * 257 * 64 + 5 * 64;
  for (const int ranks : {1, 2}) {
    for (const bool train_rest : {true, false}) {
      for (const double dropout : {0.0, 0.1}) {
        RunOptions o = lora_run(folder);
        o.steps = 2;
        o.optimizer.lora->train_rest = train_rest;
        o.optimizer.lora->dropout = dropout;
        o.checkpoint_folder = absl::StrCat(folder.path(), "/c", ranks, train_rest, dropout);
        const std::vector<RankOutcome> run = run_ranks(o, ranks, folder.path() + "/out");
        ASSERT_TRUE(run[0].result.ok()) << run[0].result.status();
        absl::StatusOr<ResolvedJob> job = resolve_job(o);
        absl::StatusOr<EngineShape> shape = engine_shape(o, job->config, ranks);
        int64_t states = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          absl::StatusOr<RankEstimate> plan = dry_run(*shape, "cpu", rank, ranks);
          ASSERT_TRUE(plan.ok());
          for (int i = 0; i < kMemoryCategories; ++i) {
            EXPECT_EQ(plan->by_category[i], run[rank].observer.lines.back().memory[i])
                << category_name(static_cast<MemoryCategory>(i));
          }
          EXPECT_EQ(plan->peak_bytes, run[rank].observer.ledger_peak);
          const int64_t gradients = plan->by_category[static_cast<int>(MemoryCategory::kGradients)];
          const int64_t trained = kAdapters + (train_rest ? kRest : 0);
          // Every allocation is rounded up to 64 bytes. So small a model is reduced in one bucket, whose pieces from
          // the other ranks have a place of their own.
          EXPECT_NEAR(gradients, trained * 4 + trained * 4 * (ranks - 1) / ranks, 64.0 * 40);
          states += plan->by_category[static_cast<int>(MemoryCategory::kOptimizerStates)];
        }
        EXPECT_NEAR(states, (kAdapters + (train_rest ? kRest : 0)) * 8, 64.0 * 80 * ranks);
      }
    }
  }
}

TEST(Lora, AResumedRunGoesOnBitForBitAndDoesNotMergeTwice) {
  TestFolder folder;
  for (const int ranks : {1, 2}) {
    RunOptions o = lora_run(folder);
    o.steps = 16;
    o.evaluate_every = 16;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/whole", ranks);
    const std::vector<RankOutcome> whole = run_ranks(o, ranks, folder.path() + "/whole-out");
    ASSERT_TRUE(whole[0].result.ok()) << whole[0].result.status();
    o.checkpoint_folder = absl::StrCat(folder.path(), "/cut", ranks);
    std::vector<double> losses;
    for (const int64_t stop : {5, 11, 0}) {
      const std::vector<RankOutcome> part =
          run_ranks(o, ranks, folder.path() + "/cut-out", [&](int, RecordingObserver& observer, RunContext&) {
            observer.stop_after = stop;
            observer.resumed_at = static_cast<int64_t>(losses.size());
          });
      ASSERT_TRUE(part[0].result.ok()) << part[0].result.status();
      for (const double loss : part[0].observer.losses()) losses.push_back(loss);
      if (stop == 0) {
        EXPECT_EQ(part[0].observer.evaluations.back().validation_loss,
                  whole[0].observer.evaluations.back().validation_loss);
      }
    }
    EXPECT_EQ(losses, whole[0].observer.losses());
    for (const char* name : {"/step-00000016/model.safetensors", "/step-00000016/optimizer/adapters.safetensors"}) {
      absl::StatusOr<std::string> a = read_file(absl::StrCat(folder.path(), "/whole", ranks, name));
      absl::StatusOr<std::string> b = read_file(absl::StrCat(folder.path(), "/cut", ranks, name));
      ASSERT_TRUE(a.ok() && b.ok());
      EXPECT_TRUE(*a == *b) << name;
    }
  }
}

TEST(Lora, InBf16ItLearnsTheSameAndResumesBitForBit) {
  TestFolder folder;
  const RankOutcome reference = run_one(lora_run(folder), folder.path() + "/fp32");
  ASSERT_TRUE(reference.result.ok()) << reference.result.status();
  for (const MasterWeights master : {MasterWeights::kNone, MasterWeights::kFp32, MasterWeights::kFp24}) {
    RunOptions o = lora_run(folder);
    o.weights = {DataType::kBFloat16, master};
    o.recompute = master != MasterWeights::kNone;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/whole", static_cast<int>(master));
    const std::vector<RankOutcome> whole = run_ranks(o, 2, folder.path() + "/whole-out");
    ASSERT_TRUE(whole[0].result.ok()) << whole[0].result.status();
    // Rounding to 8 bits moves the loss of a run by about 1 %.
    EXPECT_NEAR(whole[0].observer.losses().back(), reference.observer.losses().back(), 0.02);
    o.checkpoint_folder = absl::StrCat(folder.path(), "/cut", static_cast<int>(master));
    const std::vector<RankOutcome> first =
        run_ranks(o, 2, folder.path() + "/cut-out",
                  [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 5; });
    const std::vector<RankOutcome> rest = run_ranks(o, 2, folder.path() + "/cut-out");
    ASSERT_TRUE(rest[0].result.ok()) << rest[0].result.status();
    std::vector<double> losses = first[0].observer.losses();
    for (const double loss : rest[0].observer.losses()) losses.push_back(loss);
    EXPECT_EQ(losses, whole[0].observer.losses());
  }
}

TEST(Lora, TheMergedCheckpointAloneHasTheRunsValidationLossAndFrozenMatricesNeverMove) {
  TestFolder folder;
  RunOptions o = lora_run(folder);
  o.steps = 12;
  o.checkpoint_every = 4;
  o.evaluate_every = 12;
  o.optimizer.learning_rate = 0.03;
  o.optimizer.lora->train_rest = false;
  const RankOutcome run = run_one(o, folder.path() + "/out");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  const std::string last = o.checkpoint_folder + "/step-00000012";

  absl::StatusOr<ModelConfig> config = resolve_model_config(last, {}, 0);
  ASSERT_TRUE(config.ok()) << config.status();
  std::unique_ptr<Device> device = make_cpu_device(1);
  Arena arena(*device);
  std::vector<Parameter> parameters = model_parameters(*config, std::nullopt);
  allocate_weights(parameters, {}, arena);
  Decoder model(*config, parameters, 4, 32, Activations::kNone, arena);
  ASSERT_TRUE(load_weights(last, parameters, *device).ok());
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer("bytes");
  CorpusRequest request;
  request.options = o.data;
  request.globs = o.data.validation;
  request.key = "data.validation";
  request.tokenizer = tokenizer->get();
  request.vocabulary = 257;
  request.folder = folder.path() + "/evaluation";
  request.name = "validation";
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(request);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  std::unique_ptr<Communicator> alone = make_single_communicator(*device);
  absl::StatusOr<EvaluationLine> merged = evaluate_sequences(model, (*corpus)->store(), 0, 0, *alone, 0);
  ASSERT_TRUE(merged.ok()) << merged.status();
  const double own = run.observer.evaluations.back().validation_loss;
  EXPECT_NEAR(merged->validation_loss, own, 1e-6 * own);

  absl::StatusOr<SafetensorsReader> early =
      SafetensorsReader::open(o.checkpoint_folder + "/step-00000004/" + kAdaptersFile);
  absl::StatusOr<SafetensorsReader> late = SafetensorsReader::open(last + "/" + kAdaptersFile);
  absl::StatusOr<SafetensorsReader> model_early =
      SafetensorsReader::open(o.checkpoint_folder + "/step-00000004/model.safetensors");
  absl::StatusOr<SafetensorsReader> model_late = SafetensorsReader::open(last + "/model.safetensors");
  ASSERT_TRUE(early.ok() && late.ok() && model_early.ok() && model_late.ok());
  for (const auto& [name, entry] : early->entries()) {
    const bool adapter = name.find("lora_") != std::string::npos;
    EXPECT_EQ(fixture(*early, name) == fixture(*late, name), !adapter) << name;
    if (adapter) continue;
    EXPECT_NE(fixture(*model_early, name), fixture(*model_late, name)) << "merged " << name;
  }
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"})
    EXPECT_EQ(fixture(*model_early, name), fixture(*model_late, name)) << name;
}

}  // namespace
}  // namespace galleon
