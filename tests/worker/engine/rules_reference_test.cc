// Every moment rule against recorded runs of its formulas (tests/fixtures/make_rules.py).
#include "tests/worker/engine/one_matrix.h"
#include "tests/worker/engine/reference_support.h"

namespace galleon {
namespace {

constexpr int64_t kSteps = 60;
constexpr int64_t kHeadRows = 8;

// As `numbers` of make_rules.py.
std::vector<double> numbers(uint32_t seed, int64_t rows, int64_t columns) {
  std::vector<double> values;
  for (int64_t i = 0; i < rows * columns; ++i) {
    uint32_t x = seed * 0x9E3779B1U + static_cast<uint32_t>(i) * 0x85EBCA77U + 1U;
    x ^= x >> 16;
    x *= 0x85EBCA6BU;
    x ^= x >> 13;
    x *= 0xC2B2AE35U;
    x ^= x >> 16;
    values.push_back((static_cast<double>(x >> 21) / 1024 - 1) * std::ldexp(1.0, -static_cast<int>(i / columns % 7)));
  }
  return values;
}

std::vector<float> gradient(int64_t t, int64_t rows, int64_t columns) {
  const std::vector<double> stays = numbers(1, rows, columns);
  const std::vector<double> changes = numbers(static_cast<uint32_t>(100 + t), rows, columns);
  std::vector<float> sum;
  for (size_t i = 0; i < stays.size(); ++i) sum.push_back(static_cast<float>(stays[i] + changes[i]));
  return sum;
}

// As `basis_of`.
std::vector<float> basis_of(uint32_t seed, int64_t rows, int64_t rank) {
  std::vector<float> basis;
  for (const double x : numbers(seed, 1, rows * rank)) basis.push_back(static_cast<float>(std::nearbyint(x * 3) / 8));
  return basis;
}

std::vector<float> initial(int64_t rows, int64_t columns) {
  std::vector<float> weight;
  for (const double x : numbers(2, rows, columns)) weight.push_back(static_cast<float>(x / 8));
  return weight;
}

struct Rule {
  const char* name;
  MomentRule rule;
  double beta1, epsilon;
  int64_t block;
  MuonOptions muon = {};
};

struct Case {
  const char* name;
  int64_t rows, columns, rank;
  bool two_sided;
};

struct Recorded {
  Rule rule;
  Case matrix;
};

OptimizerOptions options_of(const Recorded& r) {
  OptimizerOptions o;
  o.rule = r.rule.rule;
  o.learning_rate = 0.01;
  o.beta1 = r.rule.beta1;
  o.epsilon = r.rule.epsilon;
  o.block_size = r.rule.block;
  o.muon = r.rule.muon;
  if (o.rule == MomentRule::kMuon) o.momentum = 0.95;
  o.weight_decay = 0.05;
  o.schedule = {ScheduleType::kConstant, 0, 0.1, kSteps};
  if (r.matrix.rank == 0) return o;
  o.galore = GaloreOptions{};
  o.galore->rank = r.matrix.rank;
  o.galore->side = r.matrix.two_sided ? ProjectionSide::kFull : ProjectionSide::kRight;
  return o;
}

std::vector<uint8_t> codes(const SafetensorsReader& reader, const std::string& name) {
  std::vector<uint8_t> values(reader.entries().at(name).count());
  EXPECT_TRUE(reader.read_bytes(name, 0, static_cast<int64_t>(values.size()), values.data()).ok());
  return values;
}

class RulesReference : public testing::TestWithParam<Recorded> {};

TEST_P(RulesReference, SixtyStepsGiveTheRecordedWeightsAndCodes) {
  const auto& [rule, matrix] = GetParam();
  const SafetensorsReader reference = open_fixture(std::string("rule_") + rule.name);
  const std::string prefix = std::string(matrix.name) + ".";
  OneMatrix one(matrix.rows, matrix.columns, options_of(GetParam()), 1, ParameterGroup::kAttention, kHeadRows);
  set_weight(one.parameter(), one.device(), initial(matrix.rows, matrix.columns).data());
  if (matrix.rank > 0) {
    const std::vector<float> rows = basis_of(4, matrix.rows, matrix.rank);
    one.optimizer().inject_basis(0, basis_of(3, matrix.columns, matrix.rank).data(),
                                 matrix.two_sided ? rows.data() : nullptr);
  }
  for (int64_t t = 1; t <= kSteps; ++t) one.step(t, gradient(t, matrix.rows, matrix.columns).data());
  // Sixty updates and products in fp32 against double precision; Muon's polynomials amplify the rounding of the Gram
  // matrix where singular values are small.
  EXPECT_LT(relative_difference(get_weight(one.parameter(), one.device()), fixture(reference, prefix + "weight")),
            rule.rule == MomentRule::kMuon ? 1e-4 : 1e-5);
  if (!reference.entries().contains(prefix + "first_codes")) return;
  for (const std::string moment : {"first", "second"}) {
    const Tensor found = one.state("w." + moment + "_moment");
    const Tensor scales = one.state("w." + moment + "_moment.scales");
    EXPECT_EQ(one.numbers_of<uint8_t>(found), codes(reference, prefix + moment + "_codes"));
    EXPECT_EQ(one.numbers_of(scales), fixture(reference, prefix + moment + "_scales"));
  }
}

// At rank 1, where the basis is unique up to its sign, which changes nothing: whatever the search, the path is that of
// the recorded run, which make_rules.py holds to the program of Fira's authors.
TEST(RulesReference, FiraAtRankOneGivesTheRecordedWeights) {
  constexpr int64_t kRows = 24;
  constexpr int64_t kColumns = 16;
  const SafetensorsReader reference = open_fixture("rule_fira");
  const std::vector<float> gradients = fixture(reference, "gradients");
  OptimizerOptions o;
  o.rule = MomentRule::kFira;
  o.learning_rate = 0.01;
  o.weight_decay = 0.05;
  o.projection.rank = 1;
  o.projection.scale = 0.25;
  o.projection.residual = Residual::kScaled;
  const auto steps = static_cast<int64_t>(gradients.size()) / (kRows * kColumns);
  o.schedule = {ScheduleType::kConstant, 0, 0.1, steps};
  OneMatrix one(kRows, kColumns, o);
  set_weight(one.parameter(), one.device(), initial(kRows, kColumns).data());
  for (int64_t t = 1; t <= steps; ++t) one.step(t, gradients.data() + (t - 1) * kRows * kColumns);
  EXPECT_LT(relative_difference(get_weight(one.parameter(), one.device()), fixture(reference, "weight")), 1e-5);
}

std::vector<Recorded> all_recorded() {
  const Case small[] = {{"full_rank", 24, 16, 0, false},
                        {"projected", 24, 16, 6, false},
                        {"two_sided", 24, 16, 6, true},
                        {"vector", 40, 1, 0, false}};
  const Case large[] = {
      {"full_rank", 72, 60, 0, false}, {"projected", 277, 20, 16, false}, {"small", 24, 16, 6, false}};
  std::vector<Recorded> all{{{"adamw", MomentRule::kAdamW, 0.9, 1e-6, 256}, small[2]}};
  for (const Case& c : large) {
    all.push_back({{"adam8bit_256", MomentRule::kAdam8bit, 0.9, 1e-8, 256}, c});
    all.push_back({{"adam8bit_2048", MomentRule::kAdam8bit, 0.9, 1e-8, 2048}, c});
  }
  for (const Case& c : small) {
    all.push_back({{"adafactor", MomentRule::kAdafactor, 0, 1e-30, 256}, c});
    all.push_back({{"adafactor_beta1", MomentRule::kAdafactor, 0.9, 1e-30, 256}, c});
    all.push_back({{"sgd", MomentRule::kSgd, 0, 0, 256}, c});
  }
  const Case of_matrices[] = {small[0], small[1], small[2], {"wide", 16, 24, 0, false}};
  for (const Case& c : of_matrices) {
    all.push_back({{"muon", MomentRule::kMuon, 0.9, 1e-6, 256}, c});
    all.push_back(
        {{"muon_polar_express", MomentRule::kMuon, 0.9, 1e-6, 256, {MuonIteration::kPolarExpress, 5, false}}, c});
    if (!c.two_sided)
      all.push_back(
          {{"muon_heads", MomentRule::kMuon, 0.9, 1e-6, 256, {MuonIteration::kNewtonSchulz, 5, true, true}}, c});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, RulesReference, testing::ValuesIn(all_recorded()), [](const auto& test) {
  return std::string(test.param.rule.name) + "_" + test.param.matrix.name;
});

}  // namespace
}  // namespace galleon
