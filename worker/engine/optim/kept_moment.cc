#include "worker/engine/optim/kept_moment.h"

#include "kernels/math/multiples.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/quantize.h"

namespace galleon {

KeptMoment::KeptMoment(const OptimizerOptions& options, const CompactMatrix& matrix, const char* what, Arena& arena)
    : matrix_(matrix),
      name_(matrix.name + "." + what),
      block_(options.block_size),
      unit_(shard_unit(options, matrix.rows, matrix.columns)),
      is_coded_(has_codes(options, matrix.rows, matrix.columns)) {
  if (!is_coded_) {
    numbers_ = allocate_moment(matrix, what, arena);
    return;
  }
  coded_.codes =
      arena.tensor(name_, MemoryCategory::kOptimizerStates, matrix.own.count, matrix.columns, DataType::kUint8);
  coded_.scales = arena.tensor(name_ + ".scales", MemoryCategory::kOptimizerStates, blocks_in(matrix.own.count), 1);
}

int64_t KeptMoment::blocks_in(int64_t rows) const {
  return ceil_div(rows * matrix_.columns, block_);
}

CodedMoment KeptMoment::rows_of(int64_t first, int64_t count) const {
  GALLEON_CHECK(first * matrix_.columns % block_ == 0) << "row " << first << " is within a block";
  return {coded_.codes.row_range(first, count), coded_.scales.row_range(blocks_in(first), blocks_in(count))};
}

void KeptMoment::load(Device& device, int64_t first, const Tensor& to) const {
  if (is_coded_) {
    decode_moment(device, true, block_, rows_of(first, to.rows), to);
  } else {
    copy(device, numbers_.row_range(first, to.rows), to);
  }
}

void KeptMoment::store(Device& device, int64_t first, const Tensor& from) const {
  if (is_coded_) {
    encode_moment(device, true, block_, from, rows_of(first, from.rows));
  } else {
    copy(device, from, numbers_.row_range(first, from.rows));
  }
}

// Whatever its code, a number whose block has scale 0 is 0.
void KeptMoment::reset(Device& device) const {
  fill(device, is_coded_ ? coded_.scales : numbers_, 0.0F);
}

void KeptMoment::rotate(Device& device, const Rotation& rotation) const {
  if (!is_coded_) {
    rotate_moment(device, rotation, false, numbers_);
    return;
  }
  const Workspace memory(device, matrix_.own.count * matrix_.columns * bytes_of(DataType::kFloat32));
  const Tensor moment = memory.tensor(matrix_.own.count, matrix_.columns);
  load(device, 0, moment);
  rotate_moment(device, rotation, false, moment);
  store(device, 0, moment);
}

void KeptMoment::add_state(std::vector<StatePiece>& pieces) const {
  if (!is_coded_) {
    pieces.push_back({name_, numbers_, matrix_.own.begin, matrix_.rows, matrix_.replicated});
    return;
  }
  pieces.push_back({name_, coded_.codes, matrix_.own.begin, matrix_.rows, matrix_.replicated});
  pieces.push_back(
      {name_ + ".scales", coded_.scales, blocks_in(matrix_.own.begin), blocks_in(matrix_.rows), matrix_.replicated});
}

}  // namespace galleon
