// A basis as it lies in memory between refreshes: fp32, bf16, or blocks of codes of 8 or 4 bits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/optim/state_piece.h"

namespace galleon {

class Basis {
 public:
  Basis() = default;
  // rows×rank numbers in `type`, in the category of subspaces. `name`: PARAMETER.basis.
  Basis(std::string name, int64_t rows, int64_t rank, BasisType type, Arena& arena);

  int64_t rows() const { return rows_; }
  int64_t rank() const { return rank_; }
  // The numbers themselves, if they are kept in fp32.
  bool plain() const { return type_ == BasisType::kFp32; }
  const Tensor& numbers() const { return numbers_; }

  // basis: rows×rank, fp32, the same on all ranks; what is kept of it is then the same on all of them too.
  void store(Device& device, const Tensor& basis) const;
  // to ← the kept numbers; rows×rank, fp32 or bf16.
  void load(Device& device, const Tensor& to) const;

  void add_state(std::vector<StatePiece>& pieces) const;

 private:
  std::string name_;
  int64_t rows_ = 0;
  int64_t rank_ = 0;
  BasisType type_ = BasisType::kFp32;
  Tensor numbers_;         // fp32 or bf16
  Tensor codes_, scales_;  // of blocks
};

// The numbers of a basis in the type that a product needs, for the lifetime of this object: themselves, or decoded into
// the workspace.
class BasisNumbers {
 public:
  BasisNumbers(Device& device, const Basis& basis, DataType type);
  const Tensor& tensor() const { return tensor_; }

 private:
  Workspace memory_;
  Tensor tensor_;
};

}  // namespace galleon
