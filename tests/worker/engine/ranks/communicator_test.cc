// Collectives against sums in double precision, for ragged shapes and any number of ranks; what they count and what
// they refuse to send.
#include <cmath>
#include <random>

#include "kernels/ops/activation.h"
#include "tests/patience.h"
#include "tests/worker/engine/ranks/with_ranks.h"

namespace galleon {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Seeded numbers of one rank's tensor.
std::vector<float> numbers(int64_t count, int rank, int tensor) {
  std::mt19937_64 random(1000 * rank + tensor);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

std::vector<double> sums(int64_t count, int ranks, int tensor) {
  std::vector<double> total(count, 0.0);
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<float> part = numbers(count, rank, tensor);
    for (int64_t i = 0; i < count; ++i) total[i] += part[i];
  }
  return total;
}

struct Shape {
  int64_t rows;
  int64_t columns;
  int64_t unit;
};
// Fewer rows than ranks, a short last unit, one row, a large piece that travels in several exchanges.
constexpr Shape kShapes[] = {{172, 8, 1}, {3, 5, 1}, {1, 7, 1}, {100, 24, 32}, {2, 64, 1}, {1500, 1024, 1}};

class Collectives : public testing::TestWithParam<int> {};

TEST_P(Collectives, SumsAndGatheredRowsAreThoseOfDoublePrecisionInABucketAsAlone) {
  const int ranks = GetParam();
  with_ranks(ranks, [&](Rank& self) {
    Arena arena(self.device);
    std::vector<ShardedRows> bucket;
    std::vector<Tensor> alone;
    for (size_t i = 0; i < std::size(kShapes); ++i) {
      const Shape& s = kShapes[i];
      const std::vector<float> own = numbers(s.rows * s.columns, self.communicator.rank(), static_cast<int>(i));
      bucket.push_back({arena.tensor("x", MemoryCategory::kGradients, s.rows, s.columns), s.unit, Content::kUpdate});
      alone.push_back(arena.tensor("y", MemoryCategory::kGradients, s.rows, s.columns));
      self.device.upload(bucket.back().x, own.data());
      self.device.upload(alone.back(), own.data());
    }
    self.communicator.reduce_scatter_rows(bucket);
    self.communicator.all_gather_rows(bucket);
    std::vector<int64_t> gathers;
    for (size_t i = 0; i < bucket.size(); ++i) {
      self.communicator.reduce_scatter_rows({{alone[i], kShapes[i].unit, Content::kUpdate}});
      gathers.push_back(self.communicator.begin_all_gather_rows({{alone[i], kShapes[i].unit, Content::kUpdate}}));
    }
    for (const int64_t gather : gathers) self.communicator.finish_gather(gather);
    ASSERT_TRUE(self.communicator.status().ok()) << self.communicator.status();
    for (size_t i = 0; i < bucket.size(); ++i) {
      const std::vector<double> expected = sums(alone[i].size(), ranks, static_cast<int>(i));
      for (int64_t n = 0; n < alone[i].size(); ++n) {
        // A sum of at most five numbers near 1 in fp32.
        ASSERT_NEAR(bucket[i].x.f32()[n], expected[n], 2e-6) << i;
        ASSERT_EQ(bucket[i].x.f32()[n], alone[i].f32()[n]) << i;
      }
    }
  });
}

TEST_P(Collectives, AReduceScatterUnderWayGivesTheSameBitsWhateverComesBetween) {
  const int ranks = GetParam();
  for (const DataType wire : {DataType::kFloat32, DataType::kBFloat16}) {
    with_ranks(ranks, [&](Rank& self) {
      Arena arena(self.device);
      std::vector<ShardedRows> flying;
      std::vector<ShardedRows> waited_for;
      for (size_t i = 0; i < std::size(kShapes); ++i) {
        const Shape& s = kShapes[i];
        const std::vector<float> own = numbers(s.rows * s.columns, self.communicator.rank(), static_cast<int>(i));
        for (std::vector<ShardedRows>* bucket : {&flying, &waited_for}) {
          bucket->push_back(
              {arena.tensor("x", MemoryCategory::kGradients, s.rows, s.columns), s.unit, Content::kUpdate});
          self.device.upload(bucket->back().x, own.data());
        }
      }
      const Tensor memory = arena.tensor("flight", MemoryCategory::kGradients,
                                         self.communicator.reduction_bytes(flying, wire), 1, DataType::kUint8);
      const Tensor between = arena.tensor("between", MemoryCategory::kGradients, 3, 3);
      self.communicator.begin_reduce_scatter_rows(flying, wire, memory);
      self.communicator.all_reduce(between, Content::kStatistic);
      const int64_t gather = self.communicator.begin_all_gather_rows({{between, 1, Content::kWeight}});
      self.communicator.finish_reduce_scatter();
      self.communicator.finish_gather(gather);
      self.communicator.reduce_scatter_rows(waited_for, wire);
      ASSERT_TRUE(self.communicator.status().ok()) << self.communicator.status();
      for (size_t i = 0; i < flying.size(); ++i) {
        const RowRange own = rows_of_rank(kShapes[i].rows, self.communicator.rank(), ranks, kShapes[i].unit);
        for (int64_t n = own.begin * kShapes[i].columns; n < (own.begin + own.count) * kShapes[i].columns; ++n)
          ASSERT_EQ(flying[i].x.f32()[n], waited_for[i].x.f32()[n]) << i;
      }
    });
  }
}

// What travels does so without the caller: rank 1 gets all of rank 0's numbers while rank 0 does something else.
TEST(Background, AReduceScatterTravelsWhileTheCallerComputes) {
  std::atomic<bool> arrived{false};
  with_ranks(2, [&arrived](Rank& self) {
    Arena arena(self.device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 4096, 1024);
    const std::vector<ShardedRows> bucket{{x, 1, Content::kUpdate}};
    const Tensor memory =
        arena.tensor("flight", MemoryCategory::kGradients,
                     self.communicator.reduction_bytes(bucket, DataType::kFloat32), 1, DataType::kUint8);
    self.communicator.begin_reduce_scatter_rows(bucket, DataType::kFloat32, memory);
    if (self.communicator.rank() == 0) {
      EXPECT_TRUE(eventually([&] { return arrived.load(); }));
    }
    self.communicator.finish_reduce_scatter();
    arrived = true;
  });
}

TEST_P(Collectives, ABFloat16WireRoundsEachNumberOnce) {
  const int ranks = GetParam();
  with_ranks(ranks, [&](Rank& self) {
    Arena arena(self.device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 37, 9);
    self.device.upload(x, numbers(x.size(), self.communicator.rank(), 0).data());
    self.communicator.reduce_scatter_rows({{x, 1, Content::kUpdate}}, DataType::kBFloat16);
    const RowRange own = rows_of_rank(37, self.communicator.rank(), ranks);
    const std::vector<double> expected = sums(x.size(), ranks, 0);
    for (int64_t n = own.begin * 9; n < (own.begin + own.count) * 9; ++n) {
      double scale = 0;
      for (int rank = 0; rank < ranks; ++rank) scale += std::abs(numbers(x.size(), rank, 0)[n]);
      ASSERT_NEAR(x.f32()[n], expected[n], scale * 0x1p-8) << "8 bits of every addend";
    }
  });
}

TEST_P(Collectives, ReductionsAndBroadcastsReachWhomTheyShould) {
  const int ranks = GetParam();
  with_ranks(ranks, [&](Rank& self) {
    Arena arena(self.device);
    const int rank = self.communicator.rank();
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 11, 3);
    const Tensor y = arena.tensor("y", MemoryCategory::kGradients, 5, 2);
    const std::vector<float> own = numbers(33, rank, 0);
    self.device.upload(x, own.data());
    self.communicator.reduce(x, ranks - 1, Content::kStatistic);
    const std::vector<double> expected = sums(33, ranks, 0);
    for (int64_t n = 0; n < 33; ++n) ASSERT_NEAR(x.f32()[n], rank == ranks - 1 ? expected[n] : own[n], 2e-6);
    self.device.upload(y, numbers(10, rank, 1).data());
    self.communicator.broadcast({{x, ranks - 1}, {y, 0}}, Content::kSubspace);
    for (int64_t n = 0; n < 33; ++n) ASSERT_NEAR(x.f32()[n], expected[n], 2e-6);
    for (int64_t n = 0; n < 10; ++n) ASSERT_EQ(y.f32()[n], numbers(10, 0, 1)[n]);
    std::vector<double> host{1.0, static_cast<double>(rank)};
    self.communicator.all_reduce_host(host);
    EXPECT_EQ(host, (std::vector<double>{static_cast<double>(ranks), ranks * (ranks - 1) / 2.0}));
    const std::vector<std::string> texts = self.communicator.all_gather_text(std::string(rank * 100000, 'x'));
    for (int other = 0; other < ranks; ++other) EXPECT_EQ(texts[other].size(), other * 100000U);
  });
}

TEST_P(Collectives, BytesThatAreCountedAreThoseOfThePlanningCommunicator) {
  const int ranks = GetParam();
  auto speak = [](Communicator& communicator, Device& device) {
    Arena arena(device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 13, 5);
    const Tensor y = arena.tensor("y", MemoryCategory::kGradients, 2, 5);
    communicator.reduce_scatter_rows({{x, 1, Content::kProjectedGradient}, {y, 1, Content::kDenseGradient}},
                                     DataType::kBFloat16);
    communicator.all_gather_rows({{x, 4, Content::kUpdate}});
    communicator.all_reduce(y, Content::kStatistic);
    communicator.reduce(x, 0, Content::kProjectedDense);
    communicator.broadcast(y, 0, Content::kSubspace);
  };
  with_ranks(ranks, [&](Rank& self) {
    speak(self.communicator, self.device);
    std::unique_ptr<Device> device = make_planning_device("cpu");
    std::unique_ptr<Communicator> plan = make_planning_communicator(*device, self.communicator.rank(), ranks);
    speak(*plan, *device);
    EXPECT_EQ(plan->sent(), self.communicator.sent());
    EXPECT_EQ(plan->sent().of(Content::kUpdate), plan->sent().of(Collective::kAllGather));
    int64_t sum = 0;
    for (int i = 0; i < kContents; ++i) sum += plan->sent().of(static_cast<Content>(i));
    EXPECT_EQ(sum, plan->sent().total());
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, Collectives, testing::Values(1, 2, 3, 5));

TEST(Guard, WhatLiesInGuardedMemoryIsSentUnderItsOwnNameAlone) {
  with_ranks(2, [](Rank& self) {
    Arena arena(self.device);
    const Tensor dense = arena.tensor("dense", MemoryCategory::kGradients, 8, 8);
    self.communicator.guard(dense);
    self.communicator.set_step(7);
    self.communicator.reduce(dense, 0, Content::kProjectedDense);
    EXPECT_TRUE(self.communicator.status().ok()) << "an exact refresh may";
    const Tensor view{dense.data, DataType::kFloat32, 2, 8, 8};
    self.communicator.reduce_scatter_rows({{view, 1, Content::kProjectedGradient}});
    EXPECT_THAT(std::string(self.communicator.status().message()),
                AllOf(HasSubstr("the dense gradient of a projected matrix as projected_gradient"),
                      HasSubstr("by reduce_scatter in step 7")));
  });
}

TEST(Guard, WhatMustNeverLeaveARankDoesNot) {
  with_ranks(2, [](Rank& self) {
    Arena arena(self.device);
    const Tensor dense = arena.tensor("dense", MemoryCategory::kGradients, 8, 8);
    self.communicator.never(Content::kProjectedDense);
    self.communicator.reduce(dense, 0, Content::kProjectedDense);
    EXPECT_EQ(self.communicator.status().code(), absl::StatusCode::kInternal);
    EXPECT_EQ(self.communicator.sent().total(), 0);
  });
}

}  // namespace
}  // namespace galleon
