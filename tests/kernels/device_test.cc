#include "kernels/device.h"

#include <gmock/gmock.h>

#include "kernels/ops/activation.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/random.h"
#include "kernels/ops/reduction.h"
#include "kernels/ops/weight_update.h"
#include "tests/kernels/cases/attention.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

TEST(Ledger, CountsByCategoryAndRemembersThePeak) {
  Ledger ledger;
  ASSERT_TRUE(ledger.reserve("a", MemoryCategory::kWeights, 640).ok());
  ASSERT_TRUE(ledger.reserve("b", MemoryCategory::kGradients, 128).ok());
  ASSERT_TRUE(ledger.reserve("a", MemoryCategory::kWeights, 64).ok());
  EXPECT_EQ(ledger.bytes(MemoryCategory::kWeights), 704);
  EXPECT_EQ(ledger.total(), 832);
  ledger.release("a", MemoryCategory::kWeights, 640);
  EXPECT_EQ(ledger.total(), 192);
  EXPECT_EQ(ledger.peak(), 832);
  ASSERT_EQ(ledger.entries().size(), 2U);
  EXPECT_EQ(ledger.entries()[0].name, "b");
  ledger.release("a", MemoryCategory::kWeights, 64);
  EXPECT_EQ(ledger.entries().size(), 1U);
}

TEST(Ledger, RefusesBeyondItsLimitWithTheFigures) {
  Ledger ledger;
  ledger.set_limit(1000);
  ASSERT_TRUE(ledger.reserve("embedding", MemoryCategory::kWeights, 600).ok());
  const absl::Status status = ledger.reserve("moments", MemoryCategory::kOptimizerStates, 401);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  const std::string text(status.message());
  EXPECT_THAT(text, testing::HasSubstr("401 bytes of moments (optimizer_states)"));
  EXPECT_THAT(text, testing::HasSubstr("400 would have fitted"));
  EXPECT_THAT(text, testing::HasSubstr("embedding (weights) 600"));
  EXPECT_EQ(ledger.total(), 600) << "a refused request changes nothing";
  EXPECT_TRUE(ledger.reserve("moments", MemoryCategory::kOptimizerStates, 400).ok());
}

TEST(CpuDevice, MemoryIsZeroedAlignedRoundedAndGivenBack) {
  const std::unique_ptr<Device> device = make_cpu_device(2);
  for (const int64_t bytes :
       {int64_t{0}, int64_t{1}, int64_t{64}, int64_t{1000}, int64_t{5} << 20, (int64_t{7} << 20) + 12}) {
    absl::StatusOr<Buffer> buffer = device->allocate("piece", MemoryCategory::kActivations, bytes);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_EQ(buffer->bytes(), (bytes + 63) / 64 * 64);
    EXPECT_EQ(device->ledger().total(), buffer->bytes());
    ASSERT_NE(buffer->data(), nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0U);
    auto* data = static_cast<char*>(buffer->data());
    for (int64_t i = 0; i < buffer->bytes(); ++i) ASSERT_EQ(data[i], 0);
    std::memset(data, 1, static_cast<size_t>(buffer->bytes()));
    Buffer moved = *std::move(buffer);
    EXPECT_EQ(moved.data(), data);
  }
  EXPECT_EQ(device->ledger().total(), 0);
}

TEST(CpuDevice, MoreThanTheMachineHasIsAnErrorThatLeavesTheLedgerAsItWas) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  const absl::StatusOr<Buffer> buffer = device->allocate("everything", MemoryCategory::kWeights, int64_t{1} << 46);
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(buffer.status().message()), testing::HasSubstr("everything"));
  EXPECT_EQ(device->ledger().total(), 0);
}

TEST(Arena, KeepsItsFirstError) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  device->ledger().set_limit(4096);
  Arena arena(*device);
  EXPECT_NE(arena.tensor("fits", MemoryCategory::kWeights, 16, 16).data, nullptr);
  EXPECT_EQ(arena.tensor("large", MemoryCategory::kWeights, 1000, 16).data, nullptr);
  EXPECT_EQ(arena.tensor("small", MemoryCategory::kWeights, 1, 1).data, nullptr) << "errors are sticky";
  EXPECT_THAT(std::string(arena.status().message()), testing::HasSubstr("large"));
}

TEST(Workspace, IsAStackWithinItsBudget) {
  run_death_tests_afresh();
  const std::unique_ptr<Device> device = make_cpu_device(1);
  ASSERT_TRUE(device->set_workspace_budget(1000).ok());
  EXPECT_EQ(device->ledger().bytes(MemoryCategory::kWorkspace), 1024);
  {
    const Workspace first(*device, 100);
    void* inner = nullptr;
    {
      const Workspace second(*device, 800);
      inner = second.data();
      EXPECT_EQ(static_cast<char*>(inner) - static_cast<char*>(first.data()), 128);
      EXPECT_DEATH(Workspace(*device, 200), "exceed the budget of 1024");
    }
    const Workspace third(*device, 64);
    EXPECT_EQ(third.data(), inner);
    EXPECT_EQ(third.tensor(4, 4).size(), 16);
    EXPECT_DEATH(static_cast<void>(third.tensor(4, 5)), "4x5 fp32 in a piece of 64 bytes");
  }
  EXPECT_EQ(device->workspace_peak(), 960);
}

TEST(Workspace, GrowsWithoutABudget) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  const Workspace first(*device, 100);
  const Workspace second(*device, 1 << 20);
  std::memset(second.data(), 1, 1 << 20);
  EXPECT_EQ(device->workspace_peak(), 128 + (1 << 20));
  EXPECT_EQ(device->ledger().total(), 0);
}

// Calls every operation once, over shapes that need workspace.
void call_everything(Device& device, Arena& arena) {
  const auto tensor = [&](int64_t rows, int64_t columns, DataType type = DataType::kFloat32) {
    return arena.tensor("t", MemoryCategory::kActivations, rows, columns, type);
  };
  const AttentionShape shape{2, 70, 4, 2, 16};
  const Tensor x = tensor(140, 64);
  const Tensor y = tensor(140, 64);
  const Tensor narrow = tensor(140, 32);
  const Tensor weight = tensor(64, 1);
  const Tensor rows = tensor(140, 1);
  const Tensor ids = tensor(140, 1, DataType::kInt32);
  const Tensor table = tensor(70, 16);
  const Tensor logs = tensor(8, 70);
  const Tensor basis = tensor(64, 8);
  const Tensor compact = tensor(140, 8);
  matmul(device, x, Transpose::kYes, y, Transpose::kNo, tensor(64, 64));
  matmul(device, x, Transpose::kYes, compact, Transpose::kNo, tensor(64, 8));
  rms_norm(device, x, weight, 1e-5F, y, rows);
  add_rms_norm(device, x, y, weight, 1e-5F, y, rows);
  rms_norm_recompute(device, x, weight, rows, y);
  rms_norm_backward(device, x, weight, rows, y, x, weight);
  swiglu(device, x, y, y);
  swiglu_backward(device, x, y, y, x, y);
  add(device, x, y);
  fill(device, x, 1.0F);
  copy(device, x, y);
  transpose(device, x, tensor(64, 140));
  rotary_table(device, table, rotary_frequencies(table.columns));
  rotary(device, x, table, 70, 16, false);
  attention(device, shape, x, narrow, narrow, y, logs);
  attention_backward(device, shape, x, narrow, narrow, y, logs, y, tensor(140, 64), tensor(140, 32), tensor(140, 32));
  embedding(device, ids, tensor(9, 64), x);
  embedding_backward(device, ids, x, tensor(9, 64));
  cross_entropy(device, x, ids, 1.0F, rows, x);
  cross_entropy_forward(device, x, ids, rows);
  adam_update(device, AdamRule(), x, y, tensor(140, 64));
  apply_projected(device, x, {}, compact, basis, {.step = 0.1F, .keep = 0.5F});
  apply_dense(device, x, {}, y, {.step = 0.1F, .keep = 0.5F});
  sum_of_squares(device, x.column_range(0, 3));
  sum(device, x);
  all_finite(device, x);
  hash_bytes(device, x);
  fill_normal(device, x, 1, 2, 3, 0.0F, 1.0F);
  EXPECT_TRUE(right_singular_vectors(device, x, basis));
  EXPECT_TRUE(orthonormalize(device, compact, 1));
  overlap(device, basis, basis);
}

TEST(PlanningDevice, CountsWhatTheCpuDeviceHolds) {
  const std::unique_ptr<Device> cpu = make_cpu_device(2);
  const std::unique_ptr<Device> planning = make_planning_device("cpu");
  EXPECT_FALSE(planning->executes());
  std::vector<Arena> arenas;
  for (Device* device : {cpu.get(), planning.get()}) {
    arenas.emplace_back(*device);
    call_everything(*device, arenas.back());
    ASSERT_TRUE(arenas.back().status().ok());
  }
  EXPECT_GT(planning->workspace_peak(), 0);
  EXPECT_EQ(planning->workspace_peak(), cpu->workspace_peak());
  EXPECT_EQ(planning->work().flops, cpu->work().flops);
  EXPECT_EQ(planning->work().bytes, cpu->work().bytes);
  EXPECT_GT(planning->work().flops, 0);
  for (int category = 0; category < kMemoryCategories; ++category) {
    EXPECT_EQ(planning->ledger().bytes(static_cast<MemoryCategory>(category)),
              cpu->ledger().bytes(static_cast<MemoryCategory>(category)));
  }
  EXPECT_EQ(planning->ledger().peak(), cpu->ledger().peak());
}

TEST(PlanningDevice, ItsWorkspacePeakIsABudgetThatSuffices) {
  const std::unique_ptr<Device> planning = make_planning_device("cpu");
  Arena planned(*planning);
  call_everything(*planning, planned);
  for (const int threads : {1, 2, 3}) {
    const std::unique_ptr<Device> cpu = make_cpu_device(threads);
    ASSERT_TRUE(cpu->set_workspace_budget(planning->workspace_peak()).ok());
    Arena arena(*cpu);
    call_everything(*cpu, arena);
    EXPECT_EQ(cpu->workspace_peak(), planning->workspace_peak());
  }
}

TEST(PlanningDevice, HoldsMoreThanAnyMachine) {
  const std::unique_ptr<Device> planning = make_planning_device("cpu");
  Arena arena(*planning);
  const Tensor large = arena.tensor("large", MemoryCategory::kWeights, int64_t{1} << 25, int64_t{1} << 20);
  const Tensor next = arena.tensor("next", MemoryCategory::kWeights, 1, 1);
  ASSERT_TRUE(arena.status().ok());
  EXPECT_EQ(planning->ledger().total(), (int64_t{1} << 47) + 64);
  EXPECT_EQ(static_cast<char*>(next.data) - static_cast<char*>(large.data), int64_t{1} << 47);
  planning->ledger().set_limit(planning->ledger().total());
  EXPECT_FALSE(planning->allocate("more", MemoryCategory::kWeights, 1).ok());
}

}  // namespace
}  // namespace galleon
