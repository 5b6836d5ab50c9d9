#include "kernels/ops/dropout.h"

#include "kernels/ops/operands.h"

namespace galleon {

DropoutWords dropout_words(const DropoutMask& mask) {
  return {mask.seed, mask.stream, mask.first, static_cast<uint32_t>(mask.probability * 0x1p32),
          static_cast<float>(1.0 / (1.0 - mask.probability))};
}

void dropout(Device& device, const Tensor& x, const DropoutMask& mask, const Tensor& y) {
  check_shape("dropout: x", x, x.rows, x.columns, x.type);
  check_shape("dropout: y", y, x.rows, x.columns, x.type);
  GALLEON_CHECK(mask.probability >= 0 && mask.probability < 1) << "dropout: probability " << mask.probability;
  count_work(device, static_cast<double>(x.size()), 2.0 * static_cast<double>(x.bytes()));
  if (!device.executes() || x.size() == 0) return;
  const bool numbered = mask.row_numbers.rows > 0;
  if (numbered) check_vector("dropout: row numbers", mask.row_numbers, x.rows, DataType::kInt32);
  const Extent extent = numbered ? Extent{x.rows, x.columns} : elementwise_extent(x, y);
  by_float_type("dropout: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.dropout(device.execution(), {.rows = extent.rows,
                                           .n = extent.columns,
                                           .x = matrix<T>(x),
                                           .words = dropout_words(mask),
                                           .row_numbers = numbered ? mask.row_numbers.i32() : nullptr,
                                           .y = matrix<T>(y)});
  });
}

}  // namespace galleon
