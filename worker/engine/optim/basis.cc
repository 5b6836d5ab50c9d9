#include "worker/engine/optim/basis.h"

#include <utility>

#include "kernels/ops/activation.h"
#include "kernels/ops/quantize.h"

namespace galleon {

namespace {

int bits_of(BasisType type) {
  return type == BasisType::kInt8 ? 8 : 4;
}

bool has_numbers(BasisType type) {
  return type == BasisType::kFp32 || type == BasisType::kBf16;
}

}  // namespace

Basis::Basis(std::string name, int64_t rows, int64_t rank, BasisType type, Arena& arena)
    : name_(std::move(name)), rows_(rows), rank_(rank), type_(type) {
  if (has_numbers(type)) {
    numbers_ = arena.tensor(name_, MemoryCategory::kSubspaces, rows, rank,
                            type == BasisType::kFp32 ? DataType::kFloat32 : DataType::kBFloat16);
    return;
  }
  codes_ = arena.tensor(name_ + ".codes", MemoryCategory::kSubspaces, basis_code_bytes(bits_of(type), rows * rank), 1,
                        DataType::kUint8);
  scales_ = arena.tensor(name_ + ".scales", MemoryCategory::kSubspaces, basis_blocks(bits_of(type), rows * rank), 1);
}

void Basis::store(Device& device, const Tensor& basis) const {
  if (!has_numbers(type_)) {
    encode_basis(device, bits_of(type_), basis, codes_, scales_);
  } else if (basis.data != numbers_.data) {
    convert(device, basis, numbers_);
  }
}

void Basis::load(Device& device, const Tensor& to) const {
  if (has_numbers(type_)) {
    convert(device, numbers_, to);
    return;
  }
  if (to.type == DataType::kFloat32) {
    decode_basis(device, bits_of(type_), codes_, scales_, to);
    return;
  }
  const Workspace memory(device, to.size() * bytes_of(DataType::kFloat32));
  const Tensor decoded = memory.tensor(to.rows, to.columns);
  decode_basis(device, bits_of(type_), codes_, scales_, decoded);
  convert(device, decoded, to);
}

void Basis::add_state(std::vector<StatePiece>& pieces) const {
  if (has_numbers(type_)) {
    pieces.push_back({name_, numbers_, 0, numbers_.rows, true});
    return;
  }
  pieces.push_back({name_ + ".codes", codes_, 0, codes_.rows, true});
  pieces.push_back({name_ + ".scales", scales_, 0, scales_.rows, true});
}

BasisNumbers::BasisNumbers(Device& device, const Basis& basis, DataType type)
    : memory_(device, basis.numbers().data != nullptr && basis.numbers().type == type
                          ? 0
                          : basis.rows() * basis.rank() * bytes_of(type)),
      tensor_(basis.numbers()) {
  if (tensor_.data != nullptr && tensor_.type == type) return;
  tensor_ = memory_.tensor(basis.rows(), basis.rank(), type);
  basis.load(device, tensor_);
}

}  // namespace galleon
