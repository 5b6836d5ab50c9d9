// The state of moment rules: cut into shards, turned to new bases, forgotten.
#include "worker/engine/optim/moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/ops/companded.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/quantize.h"
#include "worker/engine/optim/rules.h"

namespace galleon {
namespace {

struct RuleCase {
  const char* name;
  MomentRule rule;
  double beta1;
  StateType state_type = StateType::kOfRule;
};

class MomentsTest : public testing::TestWithParam<RuleCase> {
 protected:
  OptimizerOptions options() const {
    OptimizerOptions o;
    o.rule = GetParam().rule;
    o.state_type = GetParam().state_type;
    o.beta1 = GetParam().beta1;
    o.epsilon = o.rule == MomentRule::kAdafactor ? 1e-30 : 1e-8;
    return o;
  }
  Tensor tensor(int64_t rows, int64_t columns) {
    return arena_.tensor("operand", MemoryCategory::kActivations, rows, columns);
  }
  Tensor normal(int64_t rows, int64_t columns, uint64_t seed) {
    const Tensor t = tensor(rows, columns);
    std::mt19937_64 random(seed);
    std::normal_distribution<float> number(0.0F, 0.01F);
    for (int64_t i = 0; i < t.size(); ++i) t.f32()[i] = number(random);
    return t;
  }
  // An update of one part of a matrix, whose partial sums are complete.
  void update(Moments& moments, int64_t count, const Tensor& r) {
    const Tensor sums = tensor(1, std::max<int64_t>(1, moments.sum_count()));
    const RuleStep step{count, 0.01, 1.0};
    if (moments.sum_count() > 0) moments.sum(*device_, step, r, sums);
    moments.update(*device_, step, 0, r, sums);
  }
  static std::vector<StatePiece> state(const Moments& moments) {
    std::vector<StatePiece> pieces;
    moments.add_state(pieces);
    return pieces;
  }
  // The numbers of a moment, decoded where it is coded, of rows×columns.
  std::vector<double> numbers(const Moments& moments, const std::string& name, int64_t rows, int64_t columns) {
    const std::vector<StatePiece> pieces = state(moments);
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].name != "w." + name) continue;
      Tensor values = pieces[i].tensor;
      if (values.type == DataType::kUint8) {
        const Tensor decoded = tensor(rows, columns);
        const CodedMoment coded{values, pieces[i + 1].tensor};
        if (coded.scales.type == DataType::kUint16) {
          decode_companded(*device_, name == "first_moment", coded, decoded);
        } else {
          decode_moment(*device_, name == "first_moment", options().block_size, coded, decoded);
        }
        values = decoded;
      }
      return {values.f32(), values.f32() + values.size()};
    }
    return {};
  }

  std::unique_ptr<Device> device_ = make_cpu_device(1);
  Arena arena_{*device_};
};

TEST_P(MomentsTest, ShardsHoldWhatTheWholeMatrixHolds) {
  const int64_t shapes[][2] = {{301, 24}, {700, 31}, {40, 6}, {4500, 1}};
  for (const auto& shape : shapes) {
    const OptimizerOptions o = options();
    const int64_t rows = shape[0];
    const int64_t columns = kind_of(o.rule).of_matrices ? std::max<int64_t>(2, shape[1]) : shape[1];
    for (const int ranks : {2, 3, 5}) {
      CompactMatrix whole{"w", rows, columns, columns == 1, {0, rows}, false};
      const std::unique_ptr<Moments> one = allocate_moments(o, whole, arena_);
      std::vector<std::unique_ptr<Moments>> parts;
      std::vector<RowRange> own;
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        CompactMatrix part = whole;
        part.own = rows_of_rank(rows, rank, ranks, shard_unit(o, rows, columns));
        EXPECT_EQ(part.own.begin, next);
        next += part.own.count;
        own.push_back(part.own);
        parts.push_back(allocate_moments(o, part, arena_));
      }
      EXPECT_EQ(next, rows);
      for (int64_t step = 1; step <= 3; ++step) {
        const Tensor r = normal(rows, columns, static_cast<uint64_t>(step));
        const Tensor cut = normal(rows, columns, static_cast<uint64_t>(step));
        const int64_t count = std::max<int64_t>(1, one->sum_count());
        const Tensor total = tensor(1, count);
        const RuleStep how{step, 0.01, 0.5};
        for (int rank = 0; rank < ranks; ++rank) {
          const Tensor sums = tensor(1, count);
          parts[rank]->sum(*device_, how, cut.row_range(own[rank].begin, own[rank].count), sums);
          for (int64_t i = 0; i < count; ++i) total.f32()[i] += sums.f32()[i];
        }
        for (int rank = 0; rank < ranks; ++rank)
          parts[rank]->update(*device_, how, 0, cut.row_range(own[rank].begin, own[rank].count), total);
        const Tensor sums = tensor(1, count);
        one->sum(*device_, how, r, sums);
        one->update(*device_, how, 0, r, sums);
        for (int64_t i = 0; i < r.size(); ++i) {
          // Only sums over rows depend on the cut, in their last bits: Adafactor's, whose updates are about the
          // learning rate, and Muon's, whose polynomials amplify them where singular values are small.
          const bool muon = kind_of(o.rule).of_matrices;
          ASSERT_NEAR(cut.f32()[i], r.f32()[i], muon ? 1e-3 : o.rule == MomentRule::kAdafactor ? 1e-8 : 0.0);
        }
      }
      // Pieces of shards lie one after another in the whole.
      const std::vector<StatePiece> expected = state(*one);
      std::vector<int64_t> at(expected.size(), 0);
      for (int rank = 0; rank < ranks; ++rank) {
        const std::vector<StatePiece> pieces = state(*parts[rank]);
        ASSERT_EQ(pieces.size(), expected.size());
        for (size_t i = 0; i < pieces.size(); ++i) {
          EXPECT_EQ(pieces[i].name, expected[i].name);
          EXPECT_EQ(pieces[i].total_rows, expected[i].tensor.rows);
          if (pieces[i].replicated) continue;
          EXPECT_EQ(pieces[i].first_row, at[i]) << pieces[i].name;
          at[i] += pieces[i].tensor.rows;
          const Tensor same = expected[i].tensor.row_range(pieces[i].first_row, pieces[i].tensor.rows);
          if (o.rule == MomentRule::kAdafactor) {
            for (int64_t k = 0; k < same.size(); ++k) ASSERT_NEAR(pieces[i].tensor.f32()[k], same.f32()[k], 1e-8);
          } else {
            EXPECT_EQ(std::memcmp(pieces[i].tensor.data, same.data, same.bytes()), 0) << pieces[i].name;
          }
        }
      }
      for (size_t i = 0; i < expected.size(); ++i) {
        if (!expected[i].replicated) {
          EXPECT_EQ(at[i], expected[i].tensor.rows) << expected[i].name;
        }
      }
    }
  }
}

// m·C and v·C² in double precision, on both sides; Adafactor's second moment through its factors.
TEST_P(MomentsTest, ARotationTurnsFirstMomentsByCAndSecondOnesByItsSquare) {
  for (const bool two_sided : {false, true}) {
    const int64_t columns = 24;
    const int64_t rows = two_sided ? columns : 300;
    const CompactMatrix matrix{"w", rows, columns, false, {0, rows}, two_sided};
    const std::unique_ptr<Moments> moments = allocate_moments(options(), matrix, arena_);
    for (int64_t step = 1; step <= 3; ++step) update(*moments, step, normal(rows, columns, 10 + step));
    // Cosines between two bases are the upper part of an orthonormal matrix: here of 40 rows.
    auto cosines = [&](uint64_t seed) {
      const Tensor wide = normal(40, columns, seed);
      EXPECT_TRUE(orthonormalize(*device_, wide, 1));
      return wide.row_range(0, columns);
    };
    const Rotation rotation{cosines(1), two_sided ? cosines(2) : Tensor{}};
    auto turned = [&](const std::vector<double>& x, bool squared) {
      auto c = [&](const Tensor& t, int64_t i, int64_t j) {
        const double value = static_cast<double>(t.f32()[i * t.stride + j]);
        return squared ? value * value : value;
      };
      std::vector<double> half(x.size());
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          for (int64_t k = 0; k < columns; ++k) half[i * columns + j] += x[i * columns + k] * c(rotation.columns, k, j);
        }
      }
      if (!two_sided) return half;
      std::vector<double> all(x.size());
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          for (int64_t k = 0; k < rows; ++k) all[i * columns + j] += c(rotation.rows, k, i) * half[k * columns + j];
        }
      }
      return all;
    };
    auto second = [&] {
      if (options().rule != MomentRule::kAdafactor) return numbers(*moments, "second_moment", rows, columns);
      const std::vector<double> row = numbers(*moments, "row_factor", rows, 1);
      const std::vector<double> column = numbers(*moments, "column_factor", 1, columns);
      double mean = 0;
      for (const double x : row) mean += x / static_cast<double>(rows);
      double column_mean = 0;
      for (const double x : column) column_mean += x / static_cast<double>(columns);
      EXPECT_NEAR(column_mean, mean, 1e-5 * mean);
      std::vector<double> v;
      for (const double x : row) {
        for (const double y : column) v.push_back(x * y / mean);
      }
      return v;
    };
    const std::vector<double> first_before = numbers(*moments, "first_moment", rows, columns);
    const std::vector<double> second_before = second();
    moments->rotate(*device_, rotation);
    const bool coded = state(*moments)[0].tensor.type == DataType::kUint8;
    auto expect_turned = [&](const std::vector<double>& found, const std::vector<double>& before, bool squared) {
      const std::vector<double> expected = turned(before, squared);
      double largest = 0;
      for (const double x : expected) largest = std::max(largest, std::abs(x));
      ASSERT_EQ(found.size(), expected.size());
      // fp32 products of 24 numbers, or half the distance of codes.
      for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], (coded ? 0.0081 : 2e-6) * largest);
    };
    if (!first_before.empty()) expect_turned(numbers(*moments, "first_moment", rows, columns), first_before, false);
    if (!second_before.empty()) expect_turned(second(), second_before, true);
  }
}

TEST_P(MomentsTest, AfterAResetTheNextUpdateIsTheFirst) {
  for (const int64_t rows : {300, 12}) {
    const CompactMatrix matrix{"w", rows, 24, false, {0, rows}, false};
    const std::unique_ptr<Moments> used = allocate_moments(options(), matrix, arena_);
    const std::unique_ptr<Moments> fresh = allocate_moments(options(), matrix, arena_);
    for (int64_t step = 1; step <= 3; ++step) update(*used, step, normal(rows, 24, 10 + step));
    used->reset(*device_);
    const Tensor a = normal(rows, 24, 1);
    const Tensor b = normal(rows, 24, 1);
    update(*used, 1, a);
    update(*fresh, 1, b);
    EXPECT_EQ(std::memcmp(a.data, b.data, a.bytes()), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, MomentsTest,
                         testing::Values(RuleCase{"AdamW", MomentRule::kAdamW, 0.9},
                                         RuleCase{"Adam8bit", MomentRule::kAdam8bit, 0.9},
                                         RuleCase{"Adafactor", MomentRule::kAdafactor, 0.0},
                                         RuleCase{"AdafactorFirstMoment", MomentRule::kAdafactor, 0.9},
                                         RuleCase{"Sgd", MomentRule::kSgd, 0.0},
                                         RuleCase{"Muon", MomentRule::kMuon, 0.9},
                                         RuleCase{"Muon8bit", MomentRule::kMuon8bit, 0.9},
                                         RuleCase{"AdamWFlash", MomentRule::kAdamW, 0.9, StateType::kFlash},
                                         RuleCase{"MuonFlash", MomentRule::kMuon, 0.9, StateType::kFlash}),
                         [](const auto& test) { return test.param.name; });

TEST(ShardUnit, BeginsAtBlocksAndIsOneRowWhereNothingIsCoded) {
  OptimizerOptions o;
  EXPECT_EQ(shard_unit(o, 1000, 128), 1);
  o.rule = MomentRule::kAdam8bit;
  EXPECT_EQ(shard_unit(o, 1000, 128), 2);
  EXPECT_EQ(shard_unit(o, 1000, 512), 1);
  EXPECT_EQ(shard_unit(o, 1000, 5), 256);
  EXPECT_EQ(shard_unit(o, 31, 128), 1) << "below 4096 numbers moments have 32 bits";
  o.block_size = 2048;
  EXPECT_EQ(shard_unit(o, 1000, 128), 16);
  o.rule = MomentRule::kMuon;
  o.state_type = StateType::kFlash;
  EXPECT_EQ(shard_unit(o, 1000, 128), 1);
  EXPECT_EQ(shard_unit(o, 1000, 24), 4);
  EXPECT_EQ(shard_unit(o, 1000, 5), 32);
}

}  // namespace
}  // namespace galleon
