// NaN and Inf end a run with the step and the parameter, and are never published.
#include <cmath>
#include <limits>

#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/checkpoint/safetensors.h"
#include "worker/engine/run/finite.h"

namespace galleon {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kOutput = "model.layers.1.self_attn.o_proj.weight";

// A folder with the weights of a short run, changed by `change`.
std::string changed_weights(const TestFolder& folder,
                            const std::function<void(const std::string&, std::vector<float>&)>& change) {
  RunOptions o = tiny_run(folder);
  o.model.overrides = {{"tie_word_embeddings", "false"}};
  o.steps = 1;
  o.checkpoint_folder = folder.path() + "/source";
  EXPECT_TRUE(run_one(o, folder.path() + "/source-run").result.ok());
  const std::string source = o.checkpoint_folder + "/step-00000001";
  absl::StatusOr<SafetensorsReader> reader = SafetensorsReader::open(source + "/model.safetensors");
  EXPECT_TRUE(reader.ok()) << reader.status();
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, entry] : reader->entries()) {
    std::vector<float> values(entry.count());
    EXPECT_TRUE(reader->read(name, 0, entry.count(), values.data()).ok());
    change(name, values);
    tensors.push_back({name, entry.shape, [values] { return values; }});
  }
  const std::string changed = folder.path() + "/changed";
  EXPECT_TRUE(make_folders(changed).ok());
  EXPECT_TRUE(write_safetensors(changed + "/model.safetensors", tensors, {}).ok());
  std::filesystem::copy(source + "/config.json", changed + "/config.json");
  return changed;
}

// Finite weights with a finite loss and one gradient that is not: attention gives numbers near 1e35, which an output
// projection of 0 keeps from the stream, and a large head makes the gradients of the stream large.
RunOptions one_bad_gradient(const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.model.source = changed_weights(folder, [](const std::string& name, std::vector<float>& values) {
    float factor = 1.0F;
    if (name == kOutput) factor = 0.0F;
    if (name == "model.layers.1.self_attn.v_proj.weight") factor = 1e36F;
    if (name == "lm_head.weight") factor = 5e8F;
    for (float& v : values) v *= factor;
  });
  o.model.pretrained = true;
  o.warmup_steps = 0;
  o.optimizer.learning_rate = 1e-6;
  o.checkpoint_every = 1;
  return o;
}

TEST(NotFinite, AGradientStopsTheRunWithItsNameOnEveryRankBeforeAnythingIsPublished) {
  TestFolder folder;
  RunOptions o = one_bad_gradient(folder);
  o.optimizer.galore.reset();
  for (const bool per_layer : {false, true}) {
    for (const int ranks : {1, 2}) {
      o.optimizer.per_layer = per_layer;
      o.checkpoint_folder = absl::StrCat(folder.path(), "/c", ranks, per_layer);
      for (const RankOutcome& rank : run_ranks(o, ranks, folder.path() + "/out")) {
        EXPECT_EQ(rank.result.status().code(), absl::StatusCode::kFailedPrecondition);
        EXPECT_THAT(std::string(rank.result.status().message()),
                    HasSubstr(absl::StrCat("the gradient of ", kOutput,
                                           " is not finite in step 1; the last good checkpoint is none")));
        EXPECT_TRUE(rank.result.status().GetPayload(kDivergedPayload).has_value());
      }
      EXPECT_THAT(list_checkpoints(o.checkpoint_folder), IsEmpty());
    }
  }
}

TEST(NotFinite, ABadGradientInARefreshIsCountedAndMovesNothingOfItsMatrix) {
  TestFolder folder;
  const RunOptions base = one_bad_gradient(folder);
  for (const RefreshMethod method : {RefreshMethod::kSubspace, RefreshMethod::kExact}) {
    for (const int ranks : {1, 2}) {
      RunOptions o = base;
      o.optimizer.galore->refresh = method;
      o.optimizer.galore->stagger = false;
      o.micro_batch = 8 / ranks;  // one pass: every basis comes from a dense gradient
      o.checkpoint_folder = absl::StrCat(folder.path(), "/c", ranks, static_cast<int>(method));
      for (const RankOutcome& rank : run_ranks(o, ranks, folder.path() + "/out")) {
        // Every matrix is refreshed in step 1, none in step 2, where the same gradient ends the run.
        ASSERT_EQ(rank.observer.lines.size(), 1U) << rank.result.status();
        EXPECT_EQ(rank.observer.lines[0].skipped_refreshes, 1);
        EXPECT_THAT(std::string(rank.result.status().message()),
                    HasSubstr(absl::StrCat("the gradient of ", kOutput,
                                           " is not finite in step 2; the last good checkpoint is step 1")));
      }
      EXPECT_EQ(list_checkpoints(o.checkpoint_folder), std::vector<int64_t>{1});
      // The matrix is what it was; its neighbour has moved.
      for (const char* name : {kOutput, "model.layers.0.self_attn.o_proj.weight"}) {
        std::vector<float> values[2];
        int i = 0;
        for (const std::string& path : {o.model.source, o.checkpoint_folder + "/step-00000001"}) {
          absl::StatusOr<SafetensorsReader> reader = SafetensorsReader::open(path + "/model.safetensors");
          ASSERT_TRUE(reader.ok());
          values[i].resize(reader->entries().at(name).count());
          ASSERT_TRUE(reader->read(name, 0, reader->entries().at(name).count(), values[i].data()).ok());
          ++i;
        }
        EXPECT_EQ(values[0] == values[1], name == std::string(kOutput)) << name;
      }
    }
  }
}

TEST(NotFinite, AWeightIsRefusedWithItsNameWhereItIsLoaded) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.model.source = changed_weights(folder, [](const std::string& name, std::vector<float>& values) {
    if (name == kOutput) values[7] = std::numeric_limits<float>::quiet_NaN();
  });
  o.model.pretrained = true;
  const RankOutcome run = run_one(o, folder.path() + "/out");
  EXPECT_EQ(run.result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(run.result.status().message()),
              HasSubstr(absl::StrCat(kOutput, " holds a number that is not finite (nan at element 7)")));
  EXPECT_FALSE(run.result.status().GetPayload(kDivergedPayload).has_value()) << "nothing was trained";
  EXPECT_TRUE(run.observer.lines.empty());
}

TEST(NotFinite, AWeightThatOverflowsInTheLastUpdateIsNamedAndNotPublished) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.steps = 2;
  o.warmup_steps = 0;
  o.checkpoint_every = 1;
  o.optimizer.galore.reset();
  o.optimizer.schedule.type = ScheduleType::kConstant;
  // Every weight moves by the rate in the first step: beyond fp32 with 4e38.
  o.optimizer.learning_rate = 4e38;
  for (const RankOutcome& rank : run_ranks(o, 2, folder.path() + "/out")) {
    EXPECT_THAT(std::string(rank.result.status().message()),
                HasSubstr("model.embed_tokens.weight holds a number that is not finite in step 1; the last good "
                          "checkpoint is none"));
  }
  EXPECT_THAT(list_checkpoints(o.checkpoint_folder), IsEmpty());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(o.checkpoint_folder), {}), 0);
}

TEST(NotFinite, ALossStopsTheRunWithTheStepAndTheWeightsThatGrew) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  // Logits overflow from finite weights.
  o.model.source = changed_weights(folder, [](const std::string& name, std::vector<float>& values) {
    if (name != "lm_head.weight") return;
    for (float& v : values) v = std::copysign(3e38F, v);
  });
  o.model.pretrained = true;
  for (const RankOutcome& rank : run_ranks(o, 2, folder.path() + "/out")) {
    const std::string message(rank.result.status().message());
    EXPECT_THAT(message,
                HasSubstr("the loss is not finite (nan) in step 1 (all weights are finite, the largest being "
                          "those of lm_head.weight (root mean square 3e+38)); the last good checkpoint is none"));
  }
}

}  // namespace
}  // namespace galleon
