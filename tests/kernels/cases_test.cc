// Every case of tests/kernels/cases on every device: against double precision, against differences of its loss, in bf16
// against itself in fp32, and on several threads against one.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "kernels/cpu/loops/loops.h"
#include "tests/kernels/case_operands.h"
#include "tests/kernels/cases/case.h"

namespace galleon {
namespace {

class OperationTest : public KernelTest {
 protected:
  // A fresh arena for each case: all of them together would fill the machine.
  void expect_reference(const OperationCase& of, Gaps gaps);
  void expect_slopes(const OperationCase& of);
  void expect_rounded_once(const OperationCase& of);
};

void OperationTest::expect_reference(const OperationCase& of, Gaps gaps) {
  DeviceOperands operands(*device_);
  const std::vector<Values> before = drawn_numbers(of, DataType::kFloat32);
  const std::vector<Tensor> t = upload(operands, *device_, of, before, DataType::kFloat32, gaps);
  std::vector<Values> expected = before;
  const Values told = of.reference(expected);
  const Values actual = of.run(*device_, t);
  ASSERT_EQ(actual.size(), told.size());
  for (size_t i = 0; i < told.size(); ++i)
    EXPECT_LE(std::abs(actual[i] - told[i]), of.tolerance() * std::max(1.0, std::abs(told[i])));
  for (size_t i = 0; i < t.size(); ++i) {
    const Operand& o = of.operands()[i];
    if (is_result(o) && !expected[i].empty()) {
      const Values actual_numbers = operands.values_of(t[i]);
      EXPECT_LE(relative_error(actual_numbers, expected[i]), of.tolerance())
          << o.name << first_beyond(actual_numbers, expected[i], o.columns, of.tolerance());
    } else if (o.role == Role::kInput) {
      EXPECT_EQ(operands.values_of(t[i]), before[i]) << o.name << " is only read";
    }
  }
  operands.expect_untouched_gaps();
}

void OperationTest::expect_slopes(const OperationCase& of) {
  DeviceOperands operands(*device_);
  const std::vector<Values> numbers = drawn_numbers(of, DataType::kFloat32);
  const std::vector<Tensor> t = upload(operands, *device_, of, numbers, DataType::kFloat32, true);
  of.run(*device_, t);
  for (const Slope& slope : of.slopes()) {
    Values gradient = operands.values_of(t[slope.gradient]);
    if (of.operands()[slope.gradient].role == Role::kAdded) {
      for (size_t i = 0; i < gradient.size(); ++i) gradient[i] -= numbers[slope.gradient][i];
    }
    const auto loss = [&](const Values& point) {
      std::vector<Values> moved = numbers;
      moved[slope.of] = point;
      return of.loss(moved);
    };
    expect_gradient(of.operands()[slope.of].name, numbers[slope.of], gradient, loss, of.slope_tolerance());
  }
  operands.expect_untouched_gaps();
}

// Of the same numbers in either type; what is prepared is rounded where bf16 holds it.
void OperationTest::expect_rounded_once(const OperationCase& of) {
  DeviceOperands operands(*device_);
  std::vector<Values> numbers = drawn_numbers(of, DataType::kBFloat16);
  std::vector<Tensor> exact = upload(operands, *device_, of, numbers, DataType::kFloat32, false);
  std::vector<Tensor> rounded = upload(operands, *device_, of, numbers, DataType::kBFloat16, true);
  for (size_t i = 0; i < exact.size(); ++i) {
    const Operand& o = of.operands()[i];
    if (o.role != Role::kPrepared || exact[i].type != DataType::kFloat32) continue;
    const Values values = o.typed ? bfloat16_values(operands.values_of(exact[i])) : operands.values_of(exact[i]);
    exact[i] = operands.tensor(values, o.rows, o.columns);
    rounded[i] = operands.tensor(values, o.rows, o.columns, o.gaps, o.type_for(DataType::kBFloat16));
  }
  of.run(*device_, exact);
  of.run(*device_, rounded);
  for (size_t i = 0; i < exact.size(); ++i) {
    const Operand& o = of.operands()[i];
    if (!is_result(o) || o.type == DataType::kUint8 || o.type == DataType::kUint16) continue;
    const Values actual = operands.values_of(rounded[i]);
    const Values expected = operands.values_of(exact[i]);
    if (of.bfloat16_tolerance() > 0) {
      EXPECT_LE(relative_error(actual, expected), of.bfloat16_tolerance())
          << o.name << first_beyond(actual, expected, o.columns, of.bfloat16_tolerance());
      continue;
    }
    double largest = 0;
    for (const double value : expected) largest = std::max(largest, std::abs(value));
    // One rounding to bf16, relative to the number itself, and what fp32 sums in another order may differ by.
    const double once = o.typed ? 0x1.01p-8 : 0;
    const double sums = 4e-6 + 2 * of.tolerance();
    for (size_t j = 0; j < actual.size(); ++j)
      ASSERT_NEAR(actual[j], expected[j], std::abs(expected[j]) * once + largest * sums) << o.name << " at " << j;
  }
  operands.expect_untouched_gaps();
}

TEST_P(OperationTest, EveryCaseMatchesDoublePrecisionAndOnlyReadsItsInputs) {
  for (const auto& of : ragged_cases()) {
    if (!of->has_reference()) continue;
    for (const Gaps gaps : kEveryGaps) {
      SCOPED_TRACE(of->name() + ": " + of->shapes());
      expect_reference(*of, gaps);
    }
  }
}

TEST_P(OperationTest, EveryBackwardMatchesDifferencesOfItsForward) {
  for (const auto& of : ragged_cases()) {
    if (of->slopes().empty()) continue;
    SCOPED_TRACE(of->name() + ": " + of->shapes());
    expect_slopes(*of);
  }
}

TEST_P(OperationTest, EveryCaseInBf16IsThatOfFp32RoundedOnce) {
  for (const auto& of : ragged_cases()) {
    if (!of->takes_bfloat16()) continue;
    SCOPED_TRACE(of->name() + ": " + of->shapes());
    expect_rounded_once(*of);
  }
}

GALLEON_ON_EVERY_BACKEND(OperationTest);

TEST(Cases, TheFirstWrongElementIsNamed) {
  EXPECT_EQ(first_beyond({1, 2, 3, 4, 5, 9}, {1, 2, 3, 4, 6, 6}, 3, 0.1), "[1, 1] is 5 and not 6");
  EXPECT_EQ(first_beyond({1, 2}, {1, 2.1}, 2, 0.1), "");
  EXPECT_EQ(first_beyond({1, std::nan("")}, {1, 2}, 1, 0.1), "[1, 0] is nan and not 2");
}

TEST(Cases, EveryOperationThatIsTimedIsTestedToo) {
  std::set<std::string> tested;
  for (const auto& of : ragged_cases()) tested.insert(of->name());
  // Products and bases are timed under the names of what a model does with them; bases have tests of their own.
  const std::set<std::string> roles = {
      "forward",      "to_input", "to_weight", "project", "to_compact", "orthonormalize_mlp", "singular_vectors_hidden",
      "cross_entropy"};
  for (const auto& of : model_cases(ModelSizes()))
    EXPECT_TRUE(tested.contains(of->name()) || roles.contains(of->name())) << of->name();
}

// Large enough for several threads: the cheapest operations take 100 ps an element. The ragged cases stay on one.
ModelSizes sizes_for_threads() {
  ModelSizes sizes;
  sizes.sequences = 3;
  sizes.sequence = 256;
  sizes.hidden = sizes.mlp = 704;
  sizes.vocabulary = 704;
  sizes.logit_rows = 768;
  sizes.rank = 64;
  sizes.state_rows = 640;
  sizes.summed_rows = 640;
  return sizes;
}

class Threads : public testing::TestWithParam<std::string> {};

TEST_P(Threads, LargeOperandsGiveTheBitsOfOneThread) {
  ASSERT_TRUE(cpu::worth_threads(768 * 704, 100));
  const CaseList cases = model_cases(sizes_for_threads());
  const auto of = std::find_if(cases.begin(), cases.end(), [](const auto& c) { return c->name() == GetParam(); });
  std::vector<std::vector<char>> of_one;
  for (const int threads : {1, 2, 3}) {
    const std::unique_ptr<Device> device = make_cpu_device(threads);
    const DrawnOperands operands(*device, **of, DataType::kFloat32);
    const Values told = (*of)->run(*device, operands.tensors());
    std::vector<std::vector<char>> results{
        {reinterpret_cast<const char*>(told.data()), reinterpret_cast<const char*>(told.data() + told.size())}};
    for (const Tensor& t : operands.tensors()) {
      results.emplace_back(static_cast<size_t>(t.bytes()));
      device->download(results.back().data(), t);
    }
    if (threads == 1) of_one = results;
    // Products of the BLAS add in another order.
    const bool one_order = (*of)->bound() == Bound::kMemory || (*of)->name().starts_with("attention");
    if (one_order) {
      EXPECT_EQ(results, of_one) << threads << " threads";
    }
  }
}

std::vector<std::string> names_for_threads() {
  std::vector<std::string> names;
  for (const auto& of : model_cases(sizes_for_threads())) names.push_back(of->name());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Cpu, Threads, testing::ValuesIn(names_for_threads()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace galleon
