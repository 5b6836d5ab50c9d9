// Adam with moments in blocks of dynamic 8-bit codes (Dettmers et al. 2022): ε is scaled by √(1−β₂ᵗ) unless the job
// says otherwise, decay after the update. Blocks lie over the whole compact matrix, row by row, and own rows begin at
// one.
#include "kernels/ops/activation.h"
#include "kernels/ops/quantize.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

namespace {

class Adam8bitMoments final : public Moments {
 public:
  Adam8bitMoments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena)
      : options_(options),
        matrix_(matrix),
        first_(allocate(".first_moment", arena)),
        second_(allocate(".second_moment", arena)) {}

  void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor&) override {
    const double epsilon = epsilon_of(options_, EpsilonForm::kCorrected, step.count);
    const AdamRule rule{static_cast<float>(options_.beta1), static_cast<float>(options_.beta2),
                        static_cast<float>(epsilon), static_cast<float>(step.gradient_scale)};
    adam8bit_update(device, rule, options_.block_size, r, rows_of(first_, first, r.rows),
                    rows_of(second_, first, r.rows));
  }
  WeightStep weight_step(const RuleStep& step) const override {
    return {step.learning_rate * bias_correction(options_, step.count), false};
  }
  // Whatever its code, a number whose block has scale 0 is 0.
  void reset(Device& device) override {
    fill(device, first_.scales, 0.0F);
    fill(device, second_.scales, 0.0F);
  }
  void rotate(Device& device, const Rotation& rotation) override {
    const Workspace memory(device, matrix_.own.count * matrix_.columns * bytes_of(DataType::kFloat32));
    const Tensor moment = memory.tensor(matrix_.own.count, matrix_.columns);
    for (const bool is_first : {true, false}) {
      const CodedMoment& coded = is_first ? first_ : second_;
      decode_moment(device, is_first, options_.block_size, coded, moment);
      rotate_moment(device, rotation, !is_first, moment);
      encode_moment(device, is_first, options_.block_size, moment, coded);
    }
  }
  void add_state(std::vector<StatePiece>& pieces) const override {
    add_pieces(".first_moment", first_, pieces);
    add_pieces(".second_moment", second_, pieces);
  }

 private:
  int64_t blocks_in(int64_t rows) const {
    return (rows * matrix_.columns + options_.block_size - 1) / options_.block_size;
  }
  CodedMoment rows_of(const CodedMoment& coded, int64_t first, int64_t count) const {
    GALLEON_CHECK(first * matrix_.columns % options_.block_size == 0) << "row " << first << " is within a block";
    return {coded.codes.row_range(first, count), coded.scales.row_range(blocks_in(first), blocks_in(count))};
  }
  CodedMoment allocate(const std::string& what, Arena& arena) const {
    return {arena.tensor(matrix_.name + what, MemoryCategory::kOptimizerStates, matrix_.own.count, matrix_.columns,
                         DataType::kUint8),
            arena.tensor(matrix_.name + what + ".scales", MemoryCategory::kOptimizerStates,
                         blocks_in(matrix_.own.count), 1)};
  }
  void add_pieces(const std::string& what, const CodedMoment& coded, std::vector<StatePiece>& pieces) const {
    pieces.push_back({matrix_.name + what, coded.codes, matrix_.own.begin, matrix_.rows, matrix_.replicated});
    pieces.push_back({matrix_.name + what + ".scales", coded.scales, blocks_in(matrix_.own.begin),
                      blocks_in(matrix_.rows), matrix_.replicated});
  }

  OptimizerOptions options_;
  CompactMatrix matrix_;
  CodedMoment first_, second_;
};

}  // namespace

std::unique_ptr<Moments> allocate_adam8bit(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena) {
  if (!has_codes(options, matrix.rows, matrix.columns)) return allocate_adam(options, matrix, arena);
  return std::make_unique<Adam8bitMoments>(options, matrix, arena);
}

}  // namespace galleon
