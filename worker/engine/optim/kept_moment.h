// A moment of own rows as it lies in memory: fp32, or blocks of codes over the whole compact matrix, row by row:
// dynamic ones (Dettmers et al. 2022) or companded ones (Gonzalez Ortiz et al. 2026).
#pragma once

#include <vector>

#include "kernels/ops/optimizer.h"
#include "worker/engine/optim/moments.h"

namespace galleon {

enum class MomentOrder { kFirst, kSecond };

class KeptMoment {
 public:
  // Named PARAMETER.first_moment or PARAMETER.second_moment. Coded as the options say for a matrix of that size.
  KeptMoment(const OptimizerOptions& options, const CompactMatrix& matrix, MomentOrder order, Arena& arena);

  MomentCodes codes() const { return codes_; }
  // load, store and rows_of begin at multiples of so many own rows.
  int64_t unit() const { return unit_; }
  // The numbers themselves, where they are not coded.
  const Tensor& numbers() const { return numbers_; }
  // The codes of some own rows, where they are.
  CodedMoment rows_of(int64_t first, int64_t count) const;

  // to ← own rows from `first` on; fp32, as many as it has.
  void load(Device& device, int64_t first, const Tensor& to) const;
  void store(Device& device, int64_t first, const Tensor& from) const;
  void reset(Device& device) const;
  void rotate(Device& device, const Rotation& rotation) const;
  void add_state(std::vector<StatePiece>& pieces) const;

 private:
  int64_t blocks_in(int64_t rows) const;

  CompactMatrix matrix_;
  MomentOrder order_;
  std::string name_;
  int64_t block_;
  int64_t unit_;
  MomentCodes codes_;
  Tensor numbers_;
  CodedMoment coded_;
};

}  // namespace galleon
