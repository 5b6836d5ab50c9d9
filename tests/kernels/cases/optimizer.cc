// Moment rules, codes of moments and bases, weight updates, and reductions to one number.
#include "kernels/ops/optimizer.h"

#include <algorithm>
#include <cmath>

#include "kernels/math/companded8.h"
#include "kernels/ops/companded.h"
#include "kernels/ops/orthogonal.h"
#include "kernels/ops/quantize.h"
#include "kernels/ops/reduction.h"
#include "kernels/ops/weight_update.h"
#include "tests/kernels/cases/case.h"

namespace galleon {
namespace {

constexpr int64_t kBlock = 256;  // of moments in 8 bits
constexpr auto kFp32 = DataType::kFloat32;
constexpr auto kBf16 = DataType::kBFloat16;

class AdamUpdate final : public OperationCase {
 public:
  enum { kR, kM, kV };
  AdamUpdate(int64_t rows, int64_t n)
      : OperationCase("adam_update", {fp32("r", rows, n, Role::kUpdated), fp32("m", rows, n, Role::kUpdated),
                                      positive(fp32("v", rows, n, Role::kUpdated))}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    adam_update(device, rule_, t[kR], t[kM], t[kV]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    const auto beta1 = static_cast<double>(rule_.beta1);
    const auto beta2 = static_cast<double>(rule_.beta2);
    for (size_t i = 0; i < n[kR].size(); ++i) {
      const double g = n[kR][i] * static_cast<double>(rule_.gradient_scale);
      n[kM][i] = beta1 * n[kM][i] + (1 - beta1) * g;
      n[kV][i] = beta2 * n[kV][i] + (1 - beta2) * g * g;
      n[kR][i] = n[kM][i] / (std::sqrt(n[kV][i]) + static_cast<double>(rule_.epsilon));
    }
    return {};
  }
  double tolerance() const override { return 64 * kRounding; }

 private:
  AdamRule rule_{0.9F, 0.999F, 1e-6F, 0.5F};
};

class MomentumUpdate final : public OperationCase {
 public:
  enum { kR, kBuffer };
  MomentumUpdate(int64_t rows, int64_t n)
      : OperationCase("momentum_update",
                      {fp32("r", rows, n, Role::kUpdated), fp32("buffer", rows, n, Role::kUpdated)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    momentum_update(device, 0.9F, 0.25F, t[kR], t[kBuffer]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    for (size_t i = 0; i < n[kR].size(); ++i)
      n[kBuffer][i] = n[kR][i] = static_cast<double>(0.9F) * n[kBuffer][i] + 0.25 * n[kR][i];
    return {};
  }
  double tolerance() const override { return 8 * kRounding; }
};

// y ← factor·x, or x².
class Elementwise final : public OperationCase {
 public:
  Elementwise(int64_t rows, int64_t n, bool squares)
      : OperationCase(squares ? "square" : "scale", {fp32("x", rows, n), fp32("y", rows, n, Role::kOutput)}),
        squares_(squares) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    if (squares_) {
      square(device, t[0], t[1]);
    } else {
      scale(device, 0.3F, t[0], t[1]);
    }
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[1].clear();
    for (const double x : n[0])
      n[1].push_back(squares_ ? static_cast<float>(x) * static_cast<float>(x) : 0.3F * static_cast<float>(x));
    return {};
  }

 private:
  bool squares_;
};

class Combine final : public OperationCase {
 public:
  Combine(int64_t rows, int64_t n)
      : OperationCase("combine", {fp32("x", rows, n), fp32("y", rows, n), fp32("z", rows, n, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    combine(device, 0.25F, t[0], 0.75F, t[1], t[2]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[2].clear();
    for (size_t i = 0; i < n[0].size(); ++i) n[2].push_back(0.25 * n[0][i] + 0.75 * n[1][i]);
    return {};
  }
  double tolerance() const override { return 8 * kRounding; }
};

class NormalizeGram final : public OperationCase {
 public:
  explicit NormalizeGram(int64_t n)
      : OperationCase("normalize_gram",
                      {positive(fp32("gram", n, n, Role::kUpdated)), fp32("factor", 1, 1, Role::kOutput)}),
        n_(n) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    normalize_gram(device, 1.5F, t[0], t[1]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    double trace = 0;
    for (int64_t i = 0; i < n_; ++i) trace += n[0][i * n_ + i];
    const double factor = 1 / (1.5 * std::sqrt(trace));
    for (double& x : n[0]) x *= factor * factor;
    n[1] = {factor};
    return {};
  }
  double tolerance() const override { return 16 * kRounding; }

 private:
  int64_t n_;
};

class GramPolynomialCase final : public OperationCase {
 public:
  GramPolynomialCase(int64_t n, bool with_factor)
      : OperationCase(with_factor ? "gram_polynomial_scaled" : "gram_polynomial",
                      {fp32("x", n, n), fp32("y", n, n), fp32("factor", 1, 1), fp32("to", n, n, Role::kOutput)}),
        n_(n),
        with_factor_(with_factor) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    gram_polynomial(device, {3.0F, -2.5F, 0.75F}, t[0], t[1], with_factor_ ? t[2] : Tensor{}, t[3]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[3].clear();
    const double factor = with_factor_ ? n[2][0] : 1;
    for (int64_t i = 0; i < n_ * n_; ++i)
      n[3].push_back(factor * ((i % (n_ + 1) == 0 ? 3.0 : 0.0) - 2.5 * n[0][i] + 0.75 * n[1][i]));
    return {};
  }
  double tolerance() const override { return 16 * kRounding; }

 private:
  int64_t n_;
  bool with_factor_;
};

// One shard, the whole matrix: the sums of a first pass, and the update that takes them.
class AdafactorCase : public OperationCase {
 public:
  using OperationCase::OperationCase;

 protected:
  static AdafactorRule rule(float beta1) {
    AdafactorRule rule;
    rule.beta2 = 0.9F;
    rule.beta1 = beta1;
    rule.gradient_scale = 0.5F;
    rule.learning_rate = 0.1F;
    return rule;
  }
};

class AdafactorSums final : public AdafactorCase {
 public:
  enum { kR, kRows, kSums };
  AdafactorSums(int64_t rows, int64_t n)
      : AdafactorCase("adafactor_sums", {fp32("r", rows, n), positive(fp32("row factors", rows, 1, Role::kUpdated)),
                                         fp32("sums", 1, adafactor_sum_count(n), Role::kOutput)}),
        rows_(rows),
        n_(n) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    adafactor_sums(device, rule(0), t[kR], t[kRows], t[kSums]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    const auto beta2 = static_cast<double>(0.9F);
    n[kSums].assign(static_cast<size_t>(adafactor_sum_count(n_)), 0);
    for (int64_t i = 0; i < rows_; ++i) {
      double mean = 0;
      const auto square = [&](int64_t j) { return std::pow(n[kR][i * n_ + j] * 0.5, 2); };
      for (int64_t j = 0; j < n_; ++j) mean += (square(j) + 1e-30) / static_cast<double>(n_);
      n[kRows][i] = beta2 * n[kRows][i] + (1 - beta2) * mean;
      for (int64_t j = 0; j < n_; ++j) {
        n[kSums][j] += square(j) + 1e-30;
        n[kSums][n_ + j] += square(j) / n[kRows][i];
      }
      n[kSums][2 * n_] += n[kRows][i];
    }
    return {};
  }
  double tolerance() const override { return sum_bound(rows_ + n_); }

 private:
  int64_t rows_;
  int64_t n_;
};

class AdafactorUpdateCase final : public AdafactorCase {
 public:
  enum { kR, kRows, kColumns, kSums, kM };
  AdafactorUpdateCase(int64_t rows, int64_t n, bool averaged)
      : AdafactorCase(averaged ? "adafactor_update_averaged" : "adafactor_update",
                      {fp32("r", rows, n, Role::kUpdated), positive(fp32("row factors", rows, 1)),
                       positive(fp32("column factors", 1, n, Role::kUpdated)),
                       positive(fp32("sums", 1, adafactor_sum_count(n))), fp32("m", rows, n, Role::kUpdated)}),
        rows_(rows),
        n_(n),
        averaged_(averaged) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    adafactor_update(device, rule(averaged_ ? 0.9F : 0), t[kR], t[kRows], t[kColumns], t[kSums], rows_,
                     averaged_ ? t[kM] : Tensor{});
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    const auto rows = static_cast<double>(rows_);
    const auto beta1 = static_cast<double>(0.9F);
    const auto beta2 = static_cast<double>(0.9F);
    const double mean_factor = n[kSums][2 * n_] / rows;
    double squares = 0;
    for (int64_t j = 0; j < n_; ++j) {
      n[kColumns][j] = beta2 * n[kColumns][j] + (1 - beta2) * n[kSums][j] / rows;
      squares += n[kSums][n_ + j] / n[kColumns][j];
    }
    const double rms = std::sqrt(squares * mean_factor / (rows * static_cast<double>(n_)));
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = 0; j < n_; ++j) {
        double& r = n[kR][i * n_ + j];
        r *= 0.5 * 0.1 / std::max(1.0, rms) / std::sqrt(n[kRows][i] * n[kColumns][j] / mean_factor);
        if (averaged_) r = n[kM][i * n_ + j] = beta1 * n[kM][i * n_ + j] + (1 - beta1) * r;
      }
    }
    return {};
  }
  double tolerance() const override { return 64 * kRounding; }

 private:
  int64_t rows_;
  int64_t n_;
  bool averaged_;
};

// A first moment and a second in codes, prepared from normal numbers.
class CodedCase : public OperationCase {
 public:
  CodedCase(std::string name, int64_t size, std::vector<Operand> operands)
      : OperationCase(std::move(name), std::move(operands)), size_(size) {}

 protected:
  static int64_t blocks(int64_t size) { return (size + kBlock - 1) / kBlock; }
  int64_t size_;
};

class Adam8bitUpdate final : public CodedCase {
 public:
  enum { kR, kMoment, kSquare, kMCodes, kMScales, kVCodes, kVScales };
  explicit Adam8bitUpdate(int64_t size)
      : CodedCase("adam8bit_update", size,
                  {fp32("r", size, 1, Role::kUpdated), fp32("moment", size, 1), positive(fp32("square", size, 1)),
                   codes("codes of m", size, Role::kPrepared), fp32("scales of m", blocks(size), 1, Role::kPrepared),
                   codes("codes of v", size, Role::kPrepared), fp32("scales of v", blocks(size), 1, Role::kPrepared)}) {
  }
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    encode_moment(device, true, kBlock, t[kMoment], {t[kMCodes], t[kMScales]});
    encode_moment(device, false, kBlock, t[kSquare], {t[kVCodes], t[kVScales]});
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    adam8bit_update(device, AdamRule(), kBlock, t[kR], {t[kMCodes], t[kMScales]}, {t[kVCodes], t[kVScales]});
    return {};
  }
};

class EncodeMoment final : public CodedCase {
 public:
  enum { kX, kCodes, kScales };
  EncodeMoment(int64_t size, bool is_signed)
      : CodedCase(is_signed ? "encode_moment_signed" : "encode_moment", size,
                  {is_signed ? fp32("x", size, 1) : positive(fp32("x", size, 1)), codes("codes", size, Role::kOutput),
                   fp32("scales", blocks(size), 1, Role::kOutput)}),
        is_signed_(is_signed) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    encode_moment(device, is_signed_, kBlock, t[kX], {t[kCodes], t[kScales]});
    return {};
  }

 private:
  bool is_signed_;
};

class DecodeMoment final : public CodedCase {
 public:
  enum { kX, kCodes, kScales, kDecoded };
  DecodeMoment(int64_t size, bool is_signed)
      : CodedCase(is_signed ? "decode_moment_signed" : "decode_moment", size,
                  {is_signed ? fp32("x", size, 1) : positive(fp32("x", size, 1)), codes("codes", size, Role::kPrepared),
                   fp32("scales", blocks(size), 1, Role::kPrepared), fp32("decoded", size, 1, Role::kOutput)}),
        is_signed_(is_signed) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    encode_moment(device, is_signed_, kBlock, t[kX], {t[kCodes], t[kScales]});
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    decode_moment(device, is_signed_, kBlock, {t[kCodes], t[kScales]}, t[kDecoded]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kDecoded] = n[kX];
    return {};
  }
  // Codes of the highest decade are 0.9/64 apart; below it they are never farther.
  double tolerance() const override { return 0.0071; }

 private:
  bool is_signed_;
};

// Moments in groups of companded codes, prepared from normal numbers.
class CompandedCase : public OperationCase {
 public:
  using OperationCase::OperationCase;

 protected:
  static int64_t groups(int64_t size) { return (size + math::kCompandedGroup - 1) / math::kCompandedGroup; }
};

class CompandedAdamUpdate final : public CompandedCase {
 public:
  enum { kR, kMoment, kSquare, kMCodes, kMScales, kVCodes, kVScales };
  explicit CompandedAdamUpdate(int64_t size)
      : CompandedCase(
            "companded_adam_update",
            {fp32("r", size, 1, Role::kUpdated), fp32("moment", size, 1), positive(fp32("square", size, 1)),
             codes("codes of m", size, Role::kPrepared), short_scales("scales of m", groups(size), Role::kPrepared),
             codes("codes of v", size, Role::kPrepared), short_scales("scales of v", groups(size), Role::kPrepared)}) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    encode_companded(device, true, t[kMoment], {t[kMCodes], t[kMScales]});
    encode_companded(device, false, t[kSquare], {t[kVCodes], t[kVScales]});
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    companded_adam_update(device, AdamRule(), t[kR], {t[kMCodes], t[kMScales]}, {t[kVCodes], t[kVScales]});
    return {};
  }
};

class CompandMoment final : public CompandedCase {
 public:
  enum { kX, kCodes, kScales, kDecoded };
  CompandMoment(int64_t size, bool is_first, bool decodes)
      : CompandedCase(std::string(decodes ? "decode" : "encode") + "_companded_" + (is_first ? "first" : "second"),
                      {is_first ? fp32("x", size, 1) : positive(fp32("x", size, 1)),
                       codes("codes", size, decodes ? Role::kPrepared : Role::kOutput),
                       short_scales("scales", groups(size), decodes ? Role::kPrepared : Role::kOutput),
                       fp32("decoded", decodes ? size : 1, 1, Role::kOutput)}),
        is_first_(is_first),
        decodes_(decodes) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    if (decodes_) encode_companded(device, is_first_, t[kX], {t[kCodes], t[kScales]});
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    if (decodes_) {
      decode_companded(device, is_first_, {t[kCodes], t[kScales]}, t[kDecoded]);
    } else {
      encode_companded(device, is_first_, t[kX], {t[kCodes], t[kScales]});
    }
    return {};
  }
  bool has_reference() const override { return decodes_; }
  Values reference(std::vector<Values>& n) const override {
    n[kDecoded] = n[kX];
    return {};
  }
  // Half a step at the largest number of a group, of first moments 4/508; of second ones both sides of a root's 1/510.
  double tolerance() const override { return 0.0081; }

 private:
  bool is_first_;
  bool decodes_;
};

class BasisCase final : public OperationCase {
 public:
  enum { kX, kCodes, kScales, kDecoded };
  BasisCase(int64_t size, int bits, bool decodes)
      : OperationCase(std::string(decodes ? "decode_basis_int" : "encode_basis_int") + (bits == 8 ? "8" : "4"),
                      {fp32("x", size, 1),
                       codes("codes", basis_code_bytes(bits, size), decodes ? Role::kPrepared : Role::kOutput),
                       fp32("scales", basis_blocks(bits, size), 1, decodes ? Role::kPrepared : Role::kOutput),
                       fp32("decoded", decodes ? size : 1, 1, Role::kOutput)}),
        bits_(bits),
        decodes_(decodes) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    if (decodes_) encode_basis(device, bits_, t[kX], t[kCodes], t[kScales]);
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    if (decodes_) {
      decode_basis(device, bits_, t[kCodes], t[kScales], t[kDecoded]);
    } else {
      encode_basis(device, bits_, t[kX], t[kCodes], t[kScales]);
    }
    return {};
  }
  bool has_reference() const override { return decodes_; }
  Values reference(std::vector<Values>& n) const override {
    n[kDecoded] = n[kX];
    return {};
  }
  // Half a step of the largest number's block.
  double tolerance() const override { return 0.5001 / (bits_ == 8 ? 127 : 7); }

 private:
  int bits_;
  bool decodes_;
};

// weight ← (weight − step·update)·keep.
class ApplyDense final : public OperationCase {
 public:
  enum { kWeight, kUpdate, kMaster };
  ApplyDense(int64_t rows, int64_t n, DataType type, bool with_master)
      : OperationCase(std::string("apply_dense_") + (type == kBf16 ? "bf16" : "fp32") + (with_master ? "_master" : ""),
                      {weight(rows, n, type), fp32_rows("update", rows, n),
                       fp32_rows("master", with_master ? rows : 1, with_master ? n : 1,
                                 with_master ? Role::kUpdated : Role::kInput)}),
        type_(type),
        with_master_(with_master) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    apply_dense(device, t[kWeight], with_master_ ? t[kMaster] : Tensor{}, t[kUpdate],
                {.step = 0.03F, .keep = 0.875F, .noise = 7});
    return {};
  }
  bool has_reference() const override { return type_ == kFp32; }
  Values reference(std::vector<Values>& n) const override {
    for (size_t i = 0; i < n[kWeight].size(); ++i)
      n[kWeight][i] = (n[kWeight][i] - static_cast<double>(0.03F) * n[kUpdate][i]) * 0.875;
    return {};
  }
  double tolerance() const override { return 4 * kRounding; }

 private:
  static Operand weight(int64_t rows, int64_t n, DataType type) {
    Operand operand = fp32_rows("weight", rows, n, Role::kUpdated);
    operand.type = type;
    return operand;
  }
  DataType type_;
  bool with_master_;
};

// Of a weight of 24 bits.
class ApplySplit final : public OperationCase {
 public:
  enum { kWeight, kUpdate, kRemainder };
  ApplySplit(int64_t rows, int64_t n)
      : OperationCase("apply_dense_bf16_master24", {of_type("weight", rows, n, kBf16), fp32_rows("update", rows, n),
                                                    of_type("remainder", rows, n, DataType::kUint8)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    apply_dense(device, t[kWeight], t[kRemainder], t[kUpdate], {.step = 0.03F, .keep = 0.875F});
    return {};
  }

 private:
  static Operand of_type(const char* name, int64_t rows, int64_t n, DataType type) {
    Operand operand = fp32_rows(name, rows, n, Role::kUpdated);
    operand.type = type;
    return operand;
  }
};

enum class Reduction { kSum, kSumOfSquares, kAllFinite, kHash };

class ReductionCase final : public OperationCase {
 public:
  ReductionCase(int64_t rows, int64_t n, Reduction kind)
      : OperationCase(kind == Reduction::kSum            ? "sum"
                      : kind == Reduction::kSumOfSquares ? "sum_of_squares"
                      : kind == Reduction::kAllFinite    ? "all_finite"
                                                         : "hash_bytes",
                      {kind == Reduction::kHash || kind == Reduction::kSum
                           ? (kind == Reduction::kHash ? fp32("x", rows, n) : fp32_rows("x", rows, n))
                           : typed("x", rows, n)}),
        kind_(kind) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    switch (kind_) {
      case Reduction::kSum:
        return {sum(device, t[0])};
      case Reduction::kSumOfSquares:
        return {sum_of_squares(device, t[0])};
      case Reduction::kAllFinite:
        return {all_finite(device, t[0]) ? 1.0 : 0.0};
      case Reduction::kHash:
        return {static_cast<double>(hash_bytes(device, t[0]))};
    }
    return {};
  }
  bool has_reference() const override { return kind_ != Reduction::kHash; }
  Values reference(std::vector<Values>& n) const override {
    double total = 0;
    for (const double x : n[0]) total += kind_ == Reduction::kSum ? x : x * x;
    return {kind_ == Reduction::kAllFinite ? 1.0 : total};
  }
  // Of numbers in double, whose sum may be small beside them.
  double tolerance() const override { return kind_ == Reduction::kAllFinite ? 0 : 1e-9; }

 private:
  Reduction kind_;
};

void add_states(int64_t rows, int64_t n, CaseList& list) {
  list.push_back(std::make_unique<AdamUpdate>(rows, n));
  list.push_back(std::make_unique<MomentumUpdate>(rows, n));
  list.push_back(std::make_unique<Combine>(rows, n));
  list.push_back(std::make_unique<Elementwise>(rows, n, false));
  list.push_back(std::make_unique<Elementwise>(rows, n, true));
  list.push_back(std::make_unique<AdafactorSums>(rows, n));
  list.push_back(std::make_unique<AdafactorUpdateCase>(rows, n, false));
  list.push_back(std::make_unique<AdafactorUpdateCase>(rows, n, true));
  list.push_back(std::make_unique<Adam8bitUpdate>(rows * n));
  list.push_back(std::make_unique<CompandedAdamUpdate>(rows * n));
  for (const bool is_first : {true, false}) {
    for (const bool decodes : {false, true})
      list.push_back(std::make_unique<CompandMoment>(rows * n, is_first, decodes));
  }
  for (const bool is_signed : {true, false}) {
    list.push_back(std::make_unique<EncodeMoment>(rows * n, is_signed));
    list.push_back(std::make_unique<DecodeMoment>(rows * n, is_signed));
  }
  for (const int bits : {8, 4}) {
    list.push_back(std::make_unique<BasisCase>(rows * n, bits, false));
    list.push_back(std::make_unique<BasisCase>(rows * n, bits, true));
  }
  list.push_back(std::make_unique<ApplyDense>(rows, n, kBf16, false));
  list.push_back(std::make_unique<ApplyDense>(rows, n, kBf16, true));
  list.push_back(std::make_unique<ApplyDense>(rows, n, kFp32, false));
  list.push_back(std::make_unique<ApplySplit>(rows, n));
}

void add_grams(int64_t n, CaseList& list) {
  list.push_back(std::make_unique<NormalizeGram>(n));
  for (const bool with_factor : {false, true}) list.push_back(std::make_unique<GramPolynomialCase>(n, with_factor));
}

void add_reductions(int64_t rows, int64_t n, CaseList& list) {
  for (const Reduction kind : {Reduction::kSum, Reduction::kSumOfSquares, Reduction::kAllFinite, Reduction::kHash})
    list.push_back(std::make_unique<ReductionCase>(rows, n, kind));
}

}  // namespace

void add_ragged_optimizer(CaseList& list) {
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 1}, {5, 9}, {65, 33}, {300, 129}, {3, 2000}})
    add_states(rows, n, list);
  for (const int64_t n : {1, 7, 64, 129}) add_grams(n, list);
  for (const auto& [rows, n] :
       {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {63, 65}, {2, 16384}, {3, 16385}, {5, 40000}})
    add_reductions(rows, n, list);
}

void add_optimizer_of_model(const ModelSizes& sizes, CaseList& list) {
  constexpr int64_t kColumns = 1024;
  add_states(sizes.state_rows, kColumns, list);
  add_grams(sizes.rank, list);
  add_reductions(sizes.summed_rows, kColumns, list);
}

}  // namespace galleon
