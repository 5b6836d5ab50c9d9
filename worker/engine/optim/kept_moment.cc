#include "worker/engine/optim/kept_moment.h"

#include "kernels/math/multiples.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/companded.h"
#include "kernels/ops/quantize.h"

namespace galleon {

namespace {

const char* name_of(MomentOrder order) {
  return order == MomentOrder::kFirst ? "first_moment" : "second_moment";
}

}  // namespace

KeptMoment::KeptMoment(const OptimizerOptions& options, const CompactMatrix& matrix, MomentOrder order, Arena& arena)
    : matrix_(matrix),
      order_(order),
      name_(matrix.name + "." + name_of(order)),
      block_(code_block(options)),
      unit_(shard_unit(options, matrix.rows, matrix.columns)),
      codes_(codes_of(options, matrix.rows, matrix.columns)) {
  if (codes_ == MomentCodes::kNone) {
    numbers_ = allocate_moment(matrix, name_of(order), arena);
    return;
  }
  const DataType scales = codes_ == MomentCodes::kCompanded ? DataType::kUint16 : DataType::kFloat32;
  coded_.codes =
      arena.tensor(name_, MemoryCategory::kOptimizerStates, matrix.own.count, matrix.columns, DataType::kUint8);
  coded_.scales =
      arena.tensor(name_ + ".scales", MemoryCategory::kOptimizerStates, blocks_in(matrix.own.count), 1, scales);
}

int64_t KeptMoment::blocks_in(int64_t rows) const {
  return ceil_div(rows * matrix_.columns, block_);
}

CodedMoment KeptMoment::rows_of(int64_t first, int64_t count) const {
  GALLEON_CHECK(first * matrix_.columns % block_ == 0) << "row " << first << " is within a block";
  return {coded_.codes.row_range(first, count), coded_.scales.row_range(blocks_in(first), blocks_in(count))};
}

void KeptMoment::load(Device& device, int64_t first, const Tensor& to) const {
  const bool is_first = order_ == MomentOrder::kFirst;
  switch (codes_) {
    case MomentCodes::kNone:
      return copy(device, numbers_.row_range(first, to.rows), to);
    case MomentCodes::kDynamic:
      return decode_moment(device, is_first, block_, rows_of(first, to.rows), to);
    case MomentCodes::kCompanded:
      return decode_companded(device, is_first, rows_of(first, to.rows), to);
  }
}

void KeptMoment::store(Device& device, int64_t first, const Tensor& from) const {
  const bool is_first = order_ == MomentOrder::kFirst;
  switch (codes_) {
    case MomentCodes::kNone:
      return copy(device, from, numbers_.row_range(first, from.rows));
    case MomentCodes::kDynamic:
      return encode_moment(device, is_first, block_, from, rows_of(first, from.rows));
    case MomentCodes::kCompanded:
      return encode_companded(device, is_first, from, rows_of(first, from.rows));
  }
}

// Whatever its code, a number whose block has scale 0 is 0.
void KeptMoment::reset(Device& device) const {
  fill(device, codes_ == MomentCodes::kNone ? numbers_ : coded_.scales, 0.0F);
}

void KeptMoment::rotate(Device& device, const Rotation& rotation) const {
  const bool squared = order_ == MomentOrder::kSecond;
  if (codes_ == MomentCodes::kNone) {
    rotate_moment(device, rotation, squared, numbers_);
    return;
  }
  const Workspace memory(device, matrix_.own.count * matrix_.columns * bytes_of(DataType::kFloat32));
  const Tensor moment = memory.tensor(matrix_.own.count, matrix_.columns);
  load(device, 0, moment);
  rotate_moment(device, rotation, squared, moment);
  store(device, 0, moment);
}

void KeptMoment::add_state(std::vector<StatePiece>& pieces) const {
  if (codes_ == MomentCodes::kNone) {
    pieces.push_back({name_, numbers_, matrix_.own.begin, matrix_.rows, matrix_.replicated});
    return;
  }
  pieces.push_back({name_, coded_.codes, matrix_.own.begin, matrix_.rows, matrix_.replicated});
  pieces.push_back(
      {name_ + ".scales", coded_.scales, blocks_in(matrix_.own.begin), blocks_in(matrix_.rows), matrix_.replicated});
}

}  // namespace galleon
