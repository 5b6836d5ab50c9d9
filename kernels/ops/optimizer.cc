#include "kernels/ops/optimizer.h"

#include "kernels/math/multiples.h"
#include "kernels/ops/operands.h"

namespace galleon {

void adam_update(Device& device, const AdamRule& rule, const Tensor& r, const Tensor& m, const Tensor& v) {
  check_shape("adam_update: m", m, r.rows, r.columns);
  check_shape("adam_update: v", v, r.rows, r.columns);
  check_contiguous("adam_update: r", r);
  check_contiguous("adam_update: m", m);
  check_contiguous("adam_update: v", v);
  count_work(device, 11.0 * static_cast<double>(r.size()), 6.0 * static_cast<double>(r.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || r.size() == 0) return;
  device.operations().adam_update(device.execution(), r.size(), rule, r.f32(), m.f32(), v.f32());
}

void adam8bit_update(Device& device, const AdamRule& rule, int64_t block, const Tensor& r, const CodedMoment& m,
                     const CodedMoment& v) {
  GALLEON_CHECK(block >= 1 && block <= 4096) << "adam8bit_update: blocks of " << block;
  const int64_t blocks = ceil_div(r.size(), block);
  check_contiguous("adam8bit_update: r", r);
  check_vector("adam8bit_update: codes of m", m.codes, r.size(), DataType::kUint8);
  check_vector("adam8bit_update: codes of v", v.codes, r.size(), DataType::kUint8);
  check_vector("adam8bit_update: scales of m", m.scales, blocks);
  check_vector("adam8bit_update: scales of v", v.scales, blocks);
  count_work(device, 60.0 * static_cast<double>(r.size()),
             2.0 * static_cast<double>(r.bytes() + 2 * m.codes.bytes() + 2 * m.scales.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || r.size() == 0) return;
  device.operations().adam8bit_update(device.execution(), r.size(), block, rule, r.f32(),
                                      coded_numbers(m.codes, m.scales), coded_numbers(v.codes, v.scales));
}

void momentum_update(Device& device, float momentum, float gradient_scale, const Tensor& r, const Tensor& buffer) {
  check_shape("momentum_update: buffer", buffer, r.rows, r.columns);
  check_contiguous("momentum_update: r", r);
  check_contiguous("momentum_update: buffer", buffer);
  count_work(device, 3.0 * static_cast<double>(r.size()), 4.0 * static_cast<double>(r.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || r.size() == 0) return;
  device.operations().momentum_update(device.execution(), r.size(), momentum, gradient_scale, r.f32(), buffer.f32());
}

int64_t adafactor_sum_count(int64_t columns) {
  return 2 * columns + 1;
}

void adafactor_sums(Device& device, const AdafactorRule& rule, const Tensor& r, const Tensor& rows,
                    const Tensor& sums) {
  check_contiguous("adafactor_sums: r", r);
  check_vector("adafactor_sums: rows", rows, r.rows);
  check_vector("adafactor_sums: sums", sums, adafactor_sum_count(r.columns));
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.adafactor_sums_workspace(r.rows, r.columns));
  count_work(device, 8.0 * static_cast<double>(r.size()), static_cast<double>(r.bytes()), WorkKind::kOptimizer);
  if (!device.executes()) return;
  table.adafactor_sums(device.execution(), r.rows, r.columns, rule, r.f32(), rows.f32(), sums.f32(), scratch.data());
}

void adafactor_update(Device& device, const AdafactorRule& rule, const Tensor& r, const Tensor& rows,
                      const Tensor& columns, const Tensor& sums, int64_t all_rows, const Tensor& m) {
  check_contiguous("adafactor_update: r", r);
  check_vector("adafactor_update: rows", rows, r.rows);
  check_vector("adafactor_update: columns", columns, r.columns);
  check_vector("adafactor_update: sums", sums, adafactor_sum_count(r.columns));
  if (m.data != nullptr) check_vector("adafactor_update: m", m, r.size());
  const OperationTable& table = device.operations();
  const Workspace scratch(device, table.adafactor_update_workspace(r.columns));
  count_work(device, 4.0 * static_cast<double>(r.size()),
             (m.data == nullptr ? 2.0 : 4.0) * static_cast<double>(r.bytes()), WorkKind::kOptimizer);
  if (!device.executes()) return;
  table.adafactor_update(device.execution(),
                         {.rows = r.rows,
                          .n = r.columns,
                          .all_rows = all_rows,
                          .rule = rule,
                          .r = r.f32(),
                          .row_factors = rows.f32(),
                          .column_factors = columns.f32(),
                          .sums = sums.f32(),
                          .m = m.data == nullptr ? nullptr : m.f32()},
                         scratch.data());
}

void adafactor_vector_sums(Device& device, const AdafactorRule& rule, const Tensor& r, const Tensor& v,
                           const Tensor& sums) {
  check_contiguous("adafactor_vector_sums: r", r);
  check_vector("adafactor_vector_sums: v", v, r.size());
  check_vector("adafactor_vector_sums: sums", sums, 1);
  count_work(device, 8.0 * static_cast<double>(r.size()), 3.0 * static_cast<double>(r.bytes()), WorkKind::kOptimizer);
  if (!device.executes()) return;
  device.operations().adafactor_vector_sums(device.execution(), r.size(), rule, r.f32(), v.f32(), sums.f32());
}

void adafactor_vector_update(Device& device, const AdafactorRule& rule, const Tensor& r, const Tensor& v,
                             const Tensor& sums, int64_t all, const Tensor& m) {
  check_contiguous("adafactor_vector_update: r", r);
  check_vector("adafactor_vector_update: v", v, r.size());
  check_vector("adafactor_vector_update: sums", sums, 1);
  if (m.data != nullptr) check_vector("adafactor_vector_update: m", m, r.size());
  count_work(device, 4.0 * static_cast<double>(r.size()), 3.0 * static_cast<double>(r.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || r.size() == 0) return;
  device.operations().adafactor_vector_update(device.execution(), r.size(), all, rule, r.f32(), v.f32(), sums.f32(),
                                              m.data == nullptr ? nullptr : m.f32());
}

void combine(Device& device, float alpha, const Tensor& x, float beta, const Tensor& y, const Tensor& z) {
  check_vector("combine: x", x, x.size());
  check_vector("combine: y", y, x.size());
  check_vector("combine: z", z, x.size());
  count_work(device, 3.0 * static_cast<double>(x.size()), 3.0 * static_cast<double>(x.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().combine(device.execution(), x.size(), alpha, x.f32(), beta, y.f32(), z.f32());
}

void scale(Device& device, float factor, const Tensor& x, const Tensor& y) {
  check_vector("scale: x", x, x.size());
  check_vector("scale: y", y, x.size());
  count_work(device, static_cast<double>(x.size()), 2.0 * static_cast<double>(x.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().scale(device.execution(), x.size(), factor, x.f32(), y.f32());
}

void square(Device& device, const Tensor& x, const Tensor& y) {
  check_vector("square: x", x, x.size());
  check_vector("square: y", y, x.size());
  count_work(device, static_cast<double>(x.size()), 2.0 * static_cast<double>(x.bytes()), WorkKind::kOptimizer);
  if (!device.executes() || x.size() == 0) return;
  device.operations().square(device.execution(), x.size(), x.f32(), y.f32());
}

}  // namespace galleon
