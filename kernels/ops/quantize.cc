#include "kernels/ops/quantize.h"

#include "kernels/math/multiples.h"
#include "kernels/ops/operands.h"

namespace galleon {

namespace {

void check_coded(const char* what, int64_t block, const Tensor& x, const CodedMoment& coded) {
  GALLEON_CHECK(block >= 1) << what << ": blocks of " << block;
  check_vector(what, x, x.size());
  check_vector(what, coded.codes, x.size(), DataType::kUint8);
  check_vector(what, coded.scales, ceil_div(x.size(), block));
}

void check_basis(const char* what, int bits, const Tensor& x, const Tensor& codes, const Tensor& scales) {
  check_vector(what, x, x.size());
  check_vector(what, codes, basis_code_bytes(bits, x.size()), DataType::kUint8);
  check_vector(what, scales, basis_blocks(bits, x.size()));
}

}  // namespace

void encode_moment(Device& device, bool is_signed, int64_t block, const Tensor& x, const CodedMoment& coded) {
  check_coded("encode_moment", block, x, coded);
  count_work(device, 25.0 * static_cast<double>(x.size()), static_cast<double>(x.bytes() + coded.codes.bytes()),
             WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().encode_moment(device.execution(), is_signed, x.size(), block, x.f32(),
                                    coded_numbers(coded.codes, coded.scales));
}

void decode_moment(Device& device, bool is_signed, int64_t block, const CodedMoment& coded, const Tensor& x) {
  check_coded("decode_moment", block, x, coded);
  count_work(device, static_cast<double>(x.size()), static_cast<double>(x.bytes() + coded.codes.bytes()),
             WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().decode_moment(device.execution(), is_signed, x.size(), block,
                                    coded_numbers(coded.codes, coded.scales), x.f32());
}

int64_t basis_block(int bits) {
  GALLEON_CHECK(bits == 8 || bits == 4) << "a basis in " << bits << " bits";
  return bits == 8 ? 256 : 64;
}

int64_t basis_blocks(int bits, int64_t numbers) {
  return ceil_div(numbers, basis_block(bits));
}

int64_t basis_code_bytes(int bits, int64_t numbers) {
  return bits == 8 ? numbers : ceil_div(numbers, 2);
}

void encode_basis(Device& device, int bits, const Tensor& x, const Tensor& codes, const Tensor& scales) {
  check_basis("encode_basis", bits, x, codes, scales);
  count_work(device, 4.0 * static_cast<double>(x.size()), static_cast<double>(x.bytes() + codes.bytes()),
             WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().encode_basis(device.execution(), bits, x.size(), basis_block(bits), x.f32(),
                                   coded_numbers(codes, scales));
}

void decode_basis(Device& device, int bits, const Tensor& codes, const Tensor& scales, const Tensor& x) {
  check_basis("decode_basis", bits, x, codes, scales);
  count_work(device, static_cast<double>(x.size()), static_cast<double>(x.bytes() + codes.bytes()),
             WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().decode_basis(device.execution(), bits, x.size(), basis_block(bits), coded_numbers(codes, scales),
                                   x.f32());
}

}  // namespace galleon
