// Operations large enough for several threads give the bits that one thread gives. The other tests of the kernels
// compare small operands with double precision, and those stay on one thread.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "kernels/cpu/loops/loops.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/random.h"
#include "kernels/ops/reduction.h"
#include "kernels/ops/weight_update.h"

namespace galleon {
namespace {

constexpr int64_t kRows = 768;
constexpr int64_t kColumns = 704;  // 11 heads of 64
constexpr int64_t kSequence = 256;
const AttentionShape kAttention{kRows / kSequence, kSequence, 11, 11, 64};

// Operands of normal numbers on a device of its own.
struct Operands {
  explicit Operands(int threads) : device(make_cpu_device(threads)), arena(*device) {
    for (Tensor* t : {&a, &b, &c, &d, &e, &f}) *t = normal(kRows, kColumns);
    row = normal(1, kColumns);
    column = normal(kRows, 1);
    log_sum = normal(kAttention.batch * kAttention.heads, kSequence);
    table = normal(kSequence, 64);
    ids = arena.tensor("ids", MemoryCategory::kActivations, kRows, 1, DataType::kInt32);
    for (int64_t i = 0; i < kRows; ++i) ids.i32()[i] = static_cast<int32_t>(i * 7919 % kColumns);
  }
  Tensor normal(int64_t rows, int64_t columns) {
    const Tensor t = arena.tensor("operand", MemoryCategory::kActivations, rows, columns);
    fill_normal(*device, t, 1, stream++, 0, 0.0F, 1.0F);
    return t;
  }
  std::unique_ptr<Device> device;
  Arena arena;
  uint64_t stream = 0;
  Tensor a, b, c, d, e, f, row, column, log_sum, table, ids;
};

struct Operation {
  const char* name;
  std::function<void(Operands&)> run;
};

// GoogleTest would print the bytes of the struct.
void PrintTo(const Operation& operation, std::ostream* out) {
  *out << operation.name;
}

class Threads : public testing::TestWithParam<Operation> {};

TEST_P(Threads, LargeOperandsGiveTheBitsOfOneThread) {
  // The cheapest operations take 100 ps an element.
  ASSERT_TRUE(cpu::worth_threads(kRows * kColumns, 100));
  Operands one(1);
  GetParam().run(one);
  for (const int threads : {2, 3}) {
    Operands many(threads);
    GetParam().run(many);
    const Tensor* of_one[] = {&one.a, &one.b, &one.c, &one.d, &one.e, &one.f, &one.row, &one.column, &one.log_sum};
    const Tensor* of_many[] = {&many.a, &many.b,   &many.c,      &many.d,      &many.e,
                               &many.f, &many.row, &many.column, &many.log_sum};
    for (size_t i = 0; i < std::size(of_one); ++i) {
      EXPECT_EQ(std::memcmp(of_one[i]->data, of_many[i]->data, static_cast<size_t>(of_one[i]->bytes())), 0)
          << "operand " << i << " on " << threads << " threads";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cpu, Threads,
    testing::Values(
        Operation{"FillNormal", [](Operands&) {}}, Operation{"Fill", [](Operands& o) { fill(*o.device, o.a, 3.0F); }},
        Operation{"Copy", [](Operands& o) { copy(*o.device, o.a, o.b); }},
        Operation{"Add", [](Operands& o) { add(*o.device, o.a, o.b); }},
        Operation{"Transpose", [](Operands& o) { transpose(*o.device, o.a, o.b.reshape(kColumns, kRows)); }},
        Operation{"Swiglu", [](Operands& o) { swiglu(*o.device, o.a, o.b, o.c); }},
        Operation{"SwigluBackward", [](Operands& o) { swiglu_backward(*o.device, o.a, o.b, o.c, o.d, o.e); }},
        Operation{"RmsNorm", [](Operands& o) { rms_norm(*o.device, o.a, o.row, 1e-6F, o.b, o.column); }},
        Operation{"AddRmsNorm", [](Operands& o) { add_rms_norm(*o.device, o.a, o.b, o.row, 1e-6F, o.c, o.column); }},
        Operation{"RmsNormAgain", [](Operands& o) { rms_norm_recompute(*o.device, o.a, o.row, o.column, o.b); }},
        Operation{"RmsNormBackward",
                  [](Operands& o) {
                    const Tensor weight = o.d.row_range(0, 1);
                    rms_norm_backward(*o.device, o.a, weight, o.column, o.b, o.c, o.row);
                  }},
        Operation{"Rotary", [](Operands& o) { rotary(*o.device, o.a, o.table, kSequence, 64, false); }},
        Operation{"Attention", [](Operands& o) { attention(*o.device, kAttention, o.a, o.b, o.c, o.d, o.log_sum); }},
        Operation{"AttentionBackward",
                  [](Operands& o) {
                    attention(*o.device, kAttention, o.a, o.b, o.c, o.d, o.log_sum);
                    const Tensor dq = o.normal(kRows, kColumns);
                    const Tensor dk = o.normal(kRows, kColumns);
                    attention_backward(*o.device, kAttention, o.a, o.b, o.c, o.d, o.log_sum, o.e, dq, dk, o.f);
                    copy(*o.device, dq, o.a);
                    copy(*o.device, dk, o.b);
                  }},
        Operation{"Embedding", [](Operands& o) { embedding(*o.device, o.ids, o.a, o.b); }},
        Operation{"EmbeddingBackward", [](Operands& o) { embedding_backward(*o.device, o.ids, o.a, o.b); }},
        Operation{"CrossEntropy", [](Operands& o) { cross_entropy(*o.device, o.a, o.ids, 0.5F, o.column, o.a); }},
        Operation{"CrossEntropyForward", [](Operands& o) { cross_entropy_forward(*o.device, o.a, o.ids, o.column); }},
        Operation{"AdamUpdate",
                  [](Operands& o) {
                    fill(*o.device, o.c, 0.5F);
                    adam_update(*o.device, AdamRule{0.9F, 0.999F, 1e-6F, 1.0F}, o.a, o.b, o.c);
                  }},
        Operation{"ApplyDense",
                  [](Operands& o) { apply_dense(*o.device, o.a, {}, o.b, {.step = 0.1F, .keep = 0.9F}); }},
        Operation{"Sums",
                  [](Operands& o) {
                    o.row.f32()[0] = static_cast<float>(sum_of_squares(*o.device, o.a));
                    o.row.f32()[1] = static_cast<float>(sum(*o.device, o.b));
                    o.row.f32()[2] = all_finite(*o.device, o.c) ? 1.0F : 0.0F;
                    const uint64_t hash = hash_bytes(*o.device, o.d);
                    std::memcpy(o.row.f32() + 4, &hash, sizeof(hash));
                  }}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace galleon
