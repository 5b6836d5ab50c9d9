#include "tests/gpu/suite/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/random.h"

namespace galleon::gpu {

namespace {

// Probabilities and gradients of scores are rounded to bf16 before the products over them, and results once more: at
// most 2^-8 of numbers that may be a few times the largest of the result.
constexpr double kRoundedInside = 0x1p-6;
// fp32 sums over a vocabulary in another order, and another exponential.
constexpr double kSummedOtherwise = 1e-5;

class Operands {
 public:
  explicit Operands(Device& device) : device_(device), arena_(device) {}
  Tensor make(int64_t rows, int64_t columns, DataType type) {
    const Tensor t = arena_.tensor("operand", MemoryCategory::kActivations, rows, columns, type);
    GALLEON_CHECK(arena_.status().ok()) << arena_.status().ToString();
    return t;
  }
  // Normal numbers, and their bf16 neighbours.
  Tensor drawn(int64_t rows, int64_t columns, uint64_t stream, float deviation) {
    const Tensor t = make(rows, columns, DataType::kFloat32);
    fill_normal(device_, t, 1, stream, 0, 0.0F, deviation);
    return t;
  }
  Tensor rounded(const Tensor& t) {
    const Tensor narrow = make(t.rows, t.columns, DataType::kBFloat16);
    convert(device_, t, narrow);
    return narrow;
  }
  Tensor widened(const Tensor& t) {
    const Tensor wide = make(t.rows, t.columns, DataType::kFloat32);
    convert(device_, t, wide);
    return wide;
  }
  std::vector<float> numbers(const Tensor& t) {
    const Tensor wide = t.type == DataType::kFloat32 ? t : widened(t);
    std::vector<float> held(static_cast<size_t>(t.size()));
    device_.download(held.data(), wide);
    return held;
  }

 private:
  Device& device_;
  Arena arena_;
};

}  // namespace

Comparison compare(const std::string& name, const std::vector<float>& actual, const std::vector<float>& expected,
                   int64_t columns, double bound) {
  GALLEON_CHECK(actual.size() == expected.size()) << name;
  Comparison found{name, bound};
  double largest = 0;
  for (const float value : expected) largest = std::max(largest, std::abs(static_cast<double>(value)));
  largest = std::max(largest, std::numeric_limits<double>::min());
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i])) / largest;
    const double measured = std::isfinite(difference) ? difference : std::numeric_limits<double>::infinity();
    found.worst = std::max(found.worst, measured);
    if (measured > bound && found.first_wrong.empty()) {
      const auto place = static_cast<int64_t>(i);
      found.first_wrong =
          absl::StrCat("[", place / columns, ", ", place % columns, "] is ", actual[i], " and not ", expected[i]);
    }
  }
  return found;
}

std::vector<Comparison> compare_attention(Device& device, const AttentionShape& s) {
  Operands all(device);
  const int64_t wide = s.heads * s.head_dimension;
  const int64_t narrow = s.key_value_heads * s.head_dimension;
  const Tensor q = all.rounded(all.drawn(s.tokens(), wide, 1, 1.0F));
  const Tensor k = all.rounded(all.drawn(s.tokens(), narrow, 2, 1.0F));
  const Tensor v = all.rounded(all.drawn(s.tokens(), narrow, 3, 1.0F));
  const Tensor dout = all.rounded(all.drawn(s.tokens(), wide, 4, 1.0F));
  struct Results {
    Tensor out, logs, dq, dk, dv;
  };
  const auto run = [&](DataType type, const Tensor* of_forward) {
    const auto typed = [&](const Tensor& t) { return type == DataType::kBFloat16 ? t : all.widened(t); };
    const Results r{all.make(s.tokens(), wide, type), all.make(s.batch * s.heads, s.sequence, DataType::kFloat32),
                    all.make(s.tokens(), wide, type), all.make(s.tokens(), narrow, type),
                    all.make(s.tokens(), narrow, type)};
    attention(device, s, typed(q), typed(k), typed(v), r.out, r.logs);
    // Both backwards begin with the same numbers.
    const Tensor out = of_forward == nullptr ? r.out : typed(*of_forward);
    attention_backward(device, s, typed(q), typed(k), typed(v), out, r.logs, typed(dout), r.dq, r.dk, r.dv);
    return r;
  };
  const Results low = run(DataType::kBFloat16, nullptr);
  const Results high = run(DataType::kFloat32, &low.out);
  const auto beside = [&](const char* name, const Tensor& actual, const Tensor& expected) {
    return compare(name, all.numbers(actual), all.numbers(expected), expected.columns, kRoundedInside);
  };
  return {beside("out", low.out, high.out), beside("dq", low.dq, high.dq), beside("dk", low.dk, high.dk),
          beside("dv", low.dv, high.dv)};
}

std::vector<Comparison> compare_loss(Device& device, Device& reference, int64_t rows, int64_t vocabulary) {
  struct Results {
    std::vector<float> losses, gradient;
  };
  const auto run = [&](Device& on) {
    Operands all(on);
    const Tensor logits = all.drawn(rows, vocabulary, 1, 3.0F);
    const Tensor targets = all.make(rows, 1, DataType::kInt32);
    std::vector<int32_t> held;
    // Some rows do not count.
    for (int64_t i = 0; i < rows; ++i) held.push_back(i % 5 == 3 ? -100 : static_cast<int32_t>(i * 7919 % vocabulary));
    on.upload(targets, held.data());
    const Tensor losses = all.make(rows, 1, DataType::kFloat32);
    cross_entropy(on, logits, targets, 1.0F, losses, gradient_over(logits, DataType::kFloat32));
    return Results{all.numbers(losses), all.numbers(logits)};
  };
  const Results here = run(device);
  const Results there = run(reference);
  return {compare("losses", here.losses, there.losses, 1, kSummedOtherwise),
          compare("gradient", here.gradient, there.gradient, vocabulary, kSummedOtherwise)};
}

}  // namespace galleon::gpu
