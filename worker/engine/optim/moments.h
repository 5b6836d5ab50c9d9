// The rules that turn a reduced gradient into an update, and the state that each keeps for a compact matrix. A rule
// knows a rank's own rows alone; what crosses rows it declares as partial sums, which the optimizer adds up over ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/optim/state_piece.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// The gradient of a parameter as it is kept: rows×columns, of which this rank owns some rows (all, if replicated).
struct CompactMatrix {
  std::string name;  // the parameter's
  int64_t rows = 0;
  int64_t columns = 0;
  bool vector = false;  // of one dimension
  RowRange own;
  bool replicated = false;
  int64_t row_block = 0;  // rows that a rule takes for a matrix of their own; 0: all
  bool dealt = false;     // this rank has all rows or none
  ParameterGroup group = ParameterGroup::kAttention;
};

struct RuleStep {
  int64_t count = 1;  // updates of this matrix, this one included
  double learning_rate = 0;
  double gradient_scale = 1;  // clipping
};

// W ← (W − size·back(N))·keep, or with decay_first W ← W·keep − size·back(N); keep = 1 − learning rate·decay.
struct WeightStep {
  double size = 0;
  bool decay_first = false;
};

// From the coordinates of the old bases to those of the new ones: C = P_oldᵀ·P_new, r×r. `rows` is empty unless the
// rows of the matrix are projected too.
struct Rotation {
  Tensor columns;
  Tensor rows;
};

class Moments {
 public:
  virtual ~Moments() = default;

  // In every so many steps, the first one of them, `search` looks for something in the whole gradient; 0: never. A
  // collective. r: own rows of the sum over ranks.
  virtual int64_t search_interval() const { return 0; }
  virtual void search(Device& /*device*/, Communicator& /*communicator*/, const RuleStep& /*step*/,
                      const Tensor& /*r*/) {}

  // Numbers that cross rows; `sum` leaves own rows' part in `sums` (1 × that many). r: own rows, contiguous.
  virtual int64_t sum_count() const { return 0; }
  virtual void sum(Device& /*device*/, const RuleStep& /*step*/, const Tensor& /*r*/, const Tensor& /*sums*/) {}
  // r ← N. r: own rows from `first` on, `first` at a multiple of shard_unit; all own rows where the rule has sums.
  // sums: of all rows.
  virtual void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor& sums) = 0;
  virtual WeightStep weight_step(const RuleStep& step) const = 0;

  // Forgets what it has seen.
  virtual void reset(Device& device) = 0;
  // First moments m ← m·C, second ones v ← v·C² with the square elementwise, and the like for rows.
  virtual void rotate(Device& device, const Rotation& rotation) = 0;

  virtual void add_state(std::vector<StatePiece>& pieces) const = 0;
};

// The codes in which moments of a matrix of that size are kept.
enum class MomentCodes { kNone, kDynamic, kCompanded };
MomentCodes codes_of(const OptimizerOptions& options, int64_t rows, int64_t columns);
// Numbers of a block of them.
int64_t code_block(const OptimizerOptions& options);
// A rank's rows begin at multiples of this: at a block of the codes of 8-bit moments, else anywhere.
int64_t shard_unit(const OptimizerOptions& options, int64_t rows, int64_t columns);

// Allocates the state of options.rule for a matrix.
std::unique_ptr<Moments> allocate_moments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena);

// What rules share. A moment of own rows: fp32, named PARAMETER.what.
Tensor allocate_moment(const CompactMatrix& matrix, const char* what, Arena& arena);
StatePiece moment_piece(const CompactMatrix& matrix, const char* what, const Tensor& moment);
// √(1−β₂ᵗ) / (1−β₁ᵗ).
double bias_correction(const OptimizerOptions& options, int64_t count);
// What the kernels add to the uncorrected √v: ε, or ε·√(1−β₂ᵗ), which is ε beside the corrected one. `form`: where the
// job says nothing.
double epsilon_of(const OptimizerOptions& options, EpsilonForm form, int64_t count);
// moment ← rowsᵀ·moment·columns, with the elements of both squared for a second moment.
void rotate_moment(Device& device, const Rotation& rotation, bool squared, const Tensor& moment);

}  // namespace galleon
