// A first moment of own rows as it lies in memory: fp32, or blocks of dynamic 8-bit codes (Dettmers et al. 2022) over
// the whole compact matrix, row by row.
#pragma once

#include <vector>

#include "kernels/ops/optimizer.h"
#include "worker/engine/optim/moments.h"

namespace galleon {

class KeptMoment {
 public:
  // Named PARAMETER.what. Coded where the options' rule has codes for a matrix of that size.
  KeptMoment(const OptimizerOptions& options, const CompactMatrix& matrix, const char* what, Arena& arena);

  bool coded() const { return is_coded_; }
  // load and store begin at multiples of so many own rows.
  int64_t unit() const { return unit_; }
  // The numbers themselves, where they are not coded.
  const Tensor& numbers() const { return numbers_; }

  // to ← own rows from `first` on; fp32, as many as it has.
  void load(Device& device, int64_t first, const Tensor& to) const;
  void store(Device& device, int64_t first, const Tensor& from) const;
  void reset(Device& device) const;
  void rotate(Device& device, const Rotation& rotation) const;
  void add_state(std::vector<StatePiece>& pieces) const;

 private:
  int64_t blocks_in(int64_t rows) const;
  CodedMoment rows_of(int64_t first, int64_t count) const;

  CompactMatrix matrix_;
  std::string name_;
  int64_t block_;
  int64_t unit_;
  bool is_coded_;
  Tensor numbers_;
  CodedMoment coded_;
};

}  // namespace galleon
