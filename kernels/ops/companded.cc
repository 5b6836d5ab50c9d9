#include "kernels/ops/companded.h"

#include "kernels/math/companded8.h"
#include "kernels/math/multiples.h"
#include "kernels/ops/operands.h"

namespace galleon {

namespace {

void check_companded(const char* what, int64_t numbers, const CodedMoment& coded) {
  check_vector(what, coded.codes, numbers, DataType::kUint8);
  check_vector(what, coded.scales, ceil_div(numbers, math::kCompandedGroup), DataType::kUint16);
}

CompandedNumbers companded_numbers(const CodedMoment& coded) {
  return {coded.codes.u8(), coded.scales.u16()};
}

double bytes_of_coded(const CodedMoment& coded) {
  return static_cast<double>(coded.codes.bytes() + coded.scales.bytes());
}

}  // namespace

void companded_adam_update(Device& device, const AdamRule& rule, const Tensor& r, const CodedMoment& m,
                           const CodedMoment& v) {
  check_contiguous("companded_adam_update: r", r);
  check_companded("companded_adam_update: m", r.size(), m);
  check_companded("companded_adam_update: v", r.size(), v);
  count_work(device, 40.0 * static_cast<double>(r.size()),
             2.0 * (static_cast<double>(r.bytes()) + bytes_of_coded(m) + bytes_of_coded(v)), WorkKind::kOptimizer);
  if (!device.executes() || r.size() == 0) return;
  device.operations().companded_adam_update(device.execution(), r.size(), rule, r.f32(), companded_numbers(m),
                                            companded_numbers(v));
}

void encode_companded(Device& device, bool is_first, const Tensor& x, const CodedMoment& coded) {
  check_vector("encode_companded: x", x, x.size());
  check_companded("encode_companded", x.size(), coded);
  count_work(device, 10.0 * static_cast<double>(x.size()), static_cast<double>(x.bytes()) + bytes_of_coded(coded),
             WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().encode_companded(device.execution(), is_first, x.size(), x.f32(), companded_numbers(coded));
}

void decode_companded(Device& device, bool is_first, const CodedMoment& coded, const Tensor& x) {
  check_vector("decode_companded: x", x, x.size());
  check_companded("decode_companded", x.size(), coded);
  count_work(device, 4.0 * static_cast<double>(x.size()), static_cast<double>(x.bytes()) + bytes_of_coded(coded),
             WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().decode_companded(device.execution(), is_first, x.size(), companded_numbers(coded), x.f32());
}

}  // namespace galleon
