// What the GPU suite compares and exports, at small sizes on every device that tests have.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/gpu/suite/compare.h"
#include "tests/gpu/suite/export.h"
#include "tests/worker/engine/test_device.h"

namespace galleon {
namespace {

TEST(GpuSuiteParts, AComparisonNamesTheFirstElementBeyondItsBound) {
  std::vector<float> expected(20, 2.0F);
  std::vector<float> actual = expected;
  actual[3] = 2.01F;
  actual[13] = 2.5F;
  actual[17] = 0.0F;
  const gpu::Comparison wrong = gpu::compare("dq", actual, expected, 5, 0.01);
  EXPECT_EQ(wrong.first_wrong, "[2, 3] is 2.5 and not 2");
  EXPECT_DOUBLE_EQ(wrong.worst, 1.0);
  EXPECT_EQ(gpu::compare("dq", expected, expected, 5, 0.01).first_wrong, "");
  actual = expected;
  actual[19] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(gpu::compare("dq", actual, expected, 5, 0.01).first_wrong, "[3, 4] is nan and not 2");
}

TEST(GpuSuiteParts, AttentionAndLossAgreeAtSmallShapes) {
  const std::unique_ptr<Device> device = make_test_device(1);
  for (const gpu::Comparison& one : gpu::compare_attention(*device, {2, 140, 4, 2, 64})) {
    EXPECT_EQ(one.first_wrong, "") << one.name;
    EXPECT_GT(one.worst, 0) << one.name << ": nothing was rounded, so that nothing was compared";
  }
  const std::unique_ptr<Device> cpu = make_cpu_device(1);
  for (const gpu::Comparison& one : gpu::compare_loss(*device, *cpu, 20, 1003))
    EXPECT_EQ(one.first_wrong, "") << one.name;
}

TEST(GpuSuiteParts, AnExportedStepHoldsTheGradientsOfItsLoss) {
  const std::string folder = testing::TempDir() + "exported";
  std::filesystem::create_directories(folder);
  ModelConfig config = *model_preset("tiny");
  config.vocabulary = 97;
  config.tied_embeddings = false;
  const EngineShape shape = gpu::export_shape(config, 33, 3);
  ASSERT_TRUE(gpu::export_step(shape, make_test_device(1), folder).ok());
  const nlohmann::json index = nlohmann::json::parse(std::ifstream(folder + "/index.json"));
  EXPECT_NEAR(index["loss"].get<double>(), std::log(97.0), 0.1);
  int64_t numbers = 0;
  for (const auto& weight : index["weights"])
    numbers += weight["rows"].get<int64_t>() * std::max<int64_t>(1, weight["columns"].get<int64_t>());
  EXPECT_EQ(numbers, config.parameters());
  EXPECT_EQ(static_cast<int64_t>(std::filesystem::file_size(folder + "/weights.bin")), 2 * numbers);
  EXPECT_EQ(std::filesystem::file_size(folder + "/tokens.bin"), 2U * 4 * 33 * 3);
  // tiny has two blocks, so that all is compared; a softmax's gradients add up to nothing over the vocabulary.
  ASSERT_EQ(static_cast<int64_t>(std::filesystem::file_size(folder + "/gradients.bin")), 4 * numbers);
  int64_t before_head = 0;
  for (const auto& weight : index["weights"]) {
    if (weight["name"] == "lm_head.weight") break;
    before_head += weight["rows"].get<int64_t>() * std::max<int64_t>(1, weight["columns"].get<int64_t>());
  }
  std::vector<float> head(static_cast<size_t>(97 * config.hidden));
  std::ifstream gradients(folder + "/gradients.bin", std::ios::binary);
  gradients.seekg(4 * before_head);
  gradients.read(reinterpret_cast<char*>(head.data()), static_cast<std::streamsize>(4 * head.size()));
  ASSERT_TRUE(gradients.good());
  double largest = 0;
  for (int64_t column = 0; column < config.hidden; ++column) {
    double sum = 0;
    double size = 0;
    for (int64_t row = 0; row < 97; ++row) {
      const double g = head[static_cast<size_t>(row * config.hidden + column)];
      sum += g;
      size += std::abs(g);
    }
    EXPECT_GT(size, 0);
    largest = std::max(largest, std::abs(sum) / size);
  }
  // 97 roundings to bf16 of each side.
  EXPECT_LT(largest, 0.02);
}

}  // namespace
}  // namespace galleon
