#include "kernels/ops/embedding.h"

#include "kernels/ops/activation.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using EmbeddingTest = KernelTest;

TEST_P(EmbeddingTest, RowsInBf16AreAddedInFp32InTheOrderOfTheTokens) {
  constexpr int64_t kVocabulary = 7;
  for (const int64_t hidden : {8, 1040}) {
    for (const Gaps gaps : kEveryGaps) {
      std::vector<int32_t> ids;
      for (int i = 0; i < 1100; ++i) ids.push_back(i * i % 11 % 6);
      const auto tokens = static_cast<int64_t>(ids.size());
      const Values dx = bfloat16_values(normal_values(tokens * hidden, 2));
      const Tensor dtable = tensor(Values(static_cast<size_t>(kVocabulary * hidden), 0.25), kVocabulary, hidden, gaps);
      embedding_backward(*device_, integers(ids), tensor(dx, tokens, hidden, gaps, DataType::kBFloat16), dtable);
      std::vector<float> expected(static_cast<size_t>(kVocabulary * hidden), 0.25F);
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t i = 0; i < hidden; ++i) expected[ids[t] * hidden + i] += static_cast<float>(dx[t * hidden + i]);
      }
      EXPECT_EQ(values_of(dtable), Values(expected.begin(), expected.end())) << hidden;
    }
  }
}

TEST_P(EmbeddingTest, TokensOfALargeVocabularyAreAddedInTheirOrderAcrossTilesOfTheSort) {
  // Two digits of ids and a part of a third; ids near each other, far apart, and one that comes often.
  constexpr int64_t kVocabulary = 70001;
  constexpr int64_t kTokens = 2 * 1024 + 37;
  constexpr int64_t kHidden = 3;
  std::mt19937 random(5);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < kTokens; ++t) {
    const auto id = static_cast<int32_t>(random() % kVocabulary);
    ids.push_back(t % 5 == 0 ? 255 : t % 5 == 1 ? static_cast<int32_t>(65536 + t % 3) : id);
  }
  const Values dx = normal_values(kTokens * kHidden, 2);
  const Tensor dtable = empty(kVocabulary, kHidden);
  fill(*device_, dtable, 0.0F);
  embedding_backward(*device_, integers(ids), tensor(dx, kTokens, kHidden), dtable);
  std::vector<float> expected(static_cast<size_t>(kVocabulary * kHidden), 0.0F);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t i = 0; i < kHidden; ++i) expected[ids[t] * kHidden + i] += static_cast<float>(dx[t * kHidden + i]);
  }
  EXPECT_EQ(values_of(dtable), Values(expected.begin(), expected.end()));
}

TEST_P(EmbeddingTest, AnIdOutsideTheVocabularyIsNamedByWhenSomethingIsRead) {
  const Tensor x = empty(3, 4);
  EXPECT_DEATH(
      {
        embedding(*device_, integers({0, -1, 7}), empty(3, 4), x);
        values_of(x);
      },
      "embedding: id -1 of token 1 is outside a vocabulary of 3");
  EXPECT_DEATH(
      {
        embedding_backward(*device_, integers({2, 1, 3}), x, empty(3, 4));
        embedding(*device_, integers({0, -1, 7}), empty(3, 4), x);
        values_of(x);
      },
      "embedding_backward: id 3 of token 2 is outside a vocabulary of 3");
}

GALLEON_ON_EVERY_BACKEND(EmbeddingTest);

}  // namespace
}  // namespace galleon
