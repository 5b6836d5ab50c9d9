// Devices of a process that compute at the same time, each called from a thread of its own, as the ranks of many tests
// do. OpenBLAS keeps one number of threads for the whole process and memory for each of them, which a change of the
// number takes away from whoever computes with it.
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "kernels/ops/activation.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/random.h"

namespace galleon {
namespace {

constexpr int64_t kWide = 512;   // products that are worth several threads
constexpr int64_t kNarrow = 96;  // and that are not
constexpr int64_t kRank = 64;
const AttentionShape kAttention{1, kWide, 8, 8, 64};

class Computation {
 public:
  explicit Computation(int threads) : device_(make_cpu_device(threads)), arena_(*device_) {
    for (Tensor* t : {&a_, &b_}) *t = tensor(kWide, kWide);
    product_ = tensor(kWide, kWide);
    small_ = tensor(kNarrow, kNarrow);
    basis_ = tensor(kWide, kRank);
    seen_ = tensor(kWide, kWide);
    log_sum_ = tensor(kAttention.heads, kWide);
  }

  // Products, a basis and attention, all on the BLAS, and all of their results.
  std::vector<float> run() {
    fill_normal(*device_, a_, 1, 1, 0, 0.0F, 1.0F);
    fill_normal(*device_, b_, 1, 2, 0, 0.0F, 1.0F);
    for (int i = 0; i < 4; ++i) {
      matmul(*device_, a_, i % 2 == 1 ? Transpose::kYes : Transpose::kNo, b_, Transpose::kNo, product_);
      matmul(*device_, corner(a_), Transpose::kNo, corner(b_), Transpose::kYes, small_);
    }
    copy(*device_, a_.column_range(0, kRank), basis_);
    orthonormalize(*device_, basis_, 3);
    attention(*device_, kAttention, a_, b_, product_, seen_, log_sum_);
    std::vector<float> all;
    for (const Tensor& t : {product_, small_, basis_, seen_, log_sum_}) {
      all.insert(all.end(), t.f32(), t.f32() + t.rows * t.columns);
    }
    return all;
  }

 private:
  Tensor tensor(int64_t rows, int64_t columns) {
    return arena_.tensor("operand", MemoryCategory::kActivations, rows, columns);
  }
  static Tensor corner(const Tensor& t) { return t.row_range(0, kNarrow).column_range(0, kNarrow); }

  std::unique_ptr<Device> device_;
  Arena arena_;
  Tensor a_, b_, product_, small_, basis_, seen_, log_sum_;
};

TEST(DevicesAtOnce, EachComputesWhatItDoesAlone) {
  const std::vector<int> threads = {1, 2, 3, 1};
  std::vector<std::vector<float>> alone;
  for (const int count : threads) alone.push_back(Computation(count).run());
  for (int round = 0; round < 3; ++round) {
    std::vector<int> differing(threads.size(), 0);
    std::vector<std::thread> users;
    for (size_t i = 0; i < threads.size(); ++i) {
      users.emplace_back([&, i] {
        Computation computation(threads[i]);
        for (int repeat = 0; repeat < 8; ++repeat) differing[i] += computation.run() != alone[i] ? 1 : 0;
      });
    }
    for (std::thread& user : users) user.join();
    for (size_t i = 0; i < threads.size(); ++i) {
      EXPECT_EQ(differing[i], 0) << "device " << i << " of " << threads[i] << " threads, round " << round;
    }
  }
}

}  // namespace
}  // namespace galleon
