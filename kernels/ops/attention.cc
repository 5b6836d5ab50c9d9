#include "kernels/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "kernels/ops/index_check.h"
#include "kernels/ops/operands.h"

namespace galleon {
namespace {

void check_attention(const AttentionShape& s) {
  GALLEON_CHECK(s.batch >= 0 && s.sequence >= 0 && s.heads > 0 && s.key_value_heads > 0 &&
                s.heads % s.key_value_heads == 0 && s.head_dimension > 0 && s.head_dimension <= 256 && s.window >= 0 &&
                (s.window == 0 || s.causal))
      << "attention over " << s.batch << " sequences of " << s.sequence << " with " << s.heads << " heads, "
      << s.key_value_heads << " key-value heads of dimension " << s.head_dimension << ", window " << s.window;
}

// Pairs of a query and a key that it sees, over all heads.
double pairs(const AttentionShape& s) {
  const auto rows = static_cast<double>(s.batch * s.heads);
  const auto sequence = static_cast<double>(s.sequence);
  if (!s.causal) return rows * sequence * sequence;
  // Queries before the window is full, and those after.
  const double full = s.window > 0 ? std::min(static_cast<double>(s.window), sequence) : sequence;
  return rows * (full * (full + 1.0) / 2.0 + (sequence - full) * full);
}

// rows: of the tokens' matrices.
DeviceMask device_mask(Device& device, const AttentionShape& s, int64_t rows, const AttentionMask& mask) {
  DeviceMask made{s.causal, s.window, nullptr, 0, {0, 0, 0, 0, 1.0F}, 0};
  if (mask.row_starts.rows > 0) {
    check_vector("attention: row starts", mask.row_starts, s.batch + 1, DataType::kInt32);
    made.row_starts = mask.row_starts.i32();
    made.rows = rows;
    check_indices(device, mask.row_starts, {"attention: row start", "sequence", "the rows 0 to", rows, 0, rows + 1});
  } else {
    GALLEON_CHECK(rows == s.tokens()) << "attention: " << rows << " rows for " << s.tokens() << " tokens";
  }
  if (mask.dropout.probability > 0) {
    GALLEON_CHECK(mask.dropout.probability < 1 && mask.span >= s.sequence)
        << "attention: probability " << mask.dropout.probability << ", span " << mask.span << " for " << s.sequence;
    made.dropout = dropout_words(mask.dropout);
    made.span = mask.span;
  }
  return made;
}

AttentionExtent extent_of(const AttentionShape& s, const DeviceMask& mask) {
  return {s.batch,
          s.sequence,
          s.heads,
          s.heads / s.key_value_heads,
          s.head_dimension,
          1.0F / std::sqrt(static_cast<float>(s.head_dimension)),
          mask};
}

struct Named {
  const char* what;
  const Tensor& tensor;
};

// That these have rows and type of q, and `columns` columns.
void check_heads(const Tensor& q, int64_t columns, std::initializer_list<Named> operands) {
  for (const Named& operand : operands) check_shape(operand.what, operand.tensor, q.rows, columns, q.type);
}

}  // namespace

void rotary_table(Device& device, const Tensor& table, const std::vector<double>& frequencies, double factor) {
  check_shape("rotary_table: table", table, table.rows, table.columns);
  GALLEON_CHECK(table.columns == 2 * static_cast<int64_t>(frequencies.size()))
      << "rotary_table: " << shape_string(table) << " for " << frequencies.size() << " frequencies";
  count_work(device, 0.0, static_cast<double>(table.bytes()));
  if (!device.executes() || table.size() == 0) return;
  device.operations().rotary_table(device.execution(), table.rows, table.columns, frequencies.data(), factor,
                                   matrix<float>(table));
}

void rotary(Device& device, const Tensor& x, const Tensor& table, int64_t sequence, int64_t head_dimension,
            bool backward) {
  check_shape("rotary: x", x, x.rows, x.columns, x.type);
  GALLEON_CHECK(head_dimension > 0 && head_dimension % 2 == 0 && x.columns % head_dimension == 0 && sequence > 0 &&
                x.rows % sequence == 0)
      << "rotary: x is " << shape_string(x) << ", sequences of " << sequence << ", heads of " << head_dimension;
  GALLEON_CHECK(table.rows >= sequence) << "rotary: the table has " << table.rows << " positions for " << sequence;
  check_shape("rotary: table", table, table.rows, head_dimension);
  count_work(device, 3.0 * static_cast<double>(x.size()), static_cast<double>(2 * x.bytes() + table.bytes()));
  if (!device.executes() || x.size() == 0) return;
  by_float_type("rotary: x", device, x.type, [&](const auto& functions, auto element) {
    functions.rotary(device.execution(), {.tokens = x.rows,
                                          .sequence = sequence,
                                          .heads = x.columns / head_dimension,
                                          .dimension = head_dimension,
                                          .x = matrix<decltype(element)>(x),
                                          .table = matrix<float>(table),
                                          .backward = backward});
  });
}

void attention(Device& device, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
               const Tensor& out, const Tensor& log_sum, const AttentionMask& mask) {
  check_attention(shape);
  const AttentionExtent extent = extent_of(shape, device_mask(device, shape, q.rows, mask));
  check_heads(q, shape.heads * shape.head_dimension, {{"attention: q", q}, {"attention: out", out}});
  check_heads(q, shape.key_value_heads * shape.head_dimension, {{"attention: k", k}, {"attention: v", v}});
  check_shape("attention: log_sum", log_sum, shape.batch * shape.heads, shape.sequence);
  check_contiguous("attention: log_sum", log_sum);
  count_work(device, pairs(shape) * 4.0 * static_cast<double>(shape.head_dimension),
             static_cast<double>(q.bytes() + k.bytes() + v.bytes() + out.bytes() + log_sum.bytes()),
             WorkKind::kAttention, q.type);
  if (!device.executes() || q.size() == 0) return;
  by_float_type("attention: q", device, q.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.attention(device.execution(), {.extent = extent,
                                             .q = matrix<T>(q),
                                             .k = matrix<T>(k),
                                             .v = matrix<T>(v),
                                             .out = matrix<T>(out),
                                             .log_sum = log_sum.f32()});
  });
}

void attention_of_last(Device& device, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
                       const Tensor& out) {
  check_attention(shape);
  GALLEON_CHECK(shape.causal) << "attention_of_last: the last position sees what is before it";
  const int64_t wide = shape.heads * shape.head_dimension;
  const int64_t narrow = shape.key_value_heads * shape.head_dimension;
  check_shape("attention_of_last: q", q, shape.batch, wide, q.type);
  check_shape("attention_of_last: k", k, shape.tokens(), narrow, q.type);
  check_shape("attention_of_last: v", v, shape.tokens(), narrow, q.type);
  check_shape("attention_of_last: out", out, shape.batch, wide, q.type);
  const Workspace scores(device, shape.tokens() * shape.heads * static_cast<int64_t>(sizeof(float)));
  const int64_t seen = shape.window > 0 ? std::min(shape.window, shape.sequence) : shape.sequence;
  const int64_t keys = shape.batch * seen;
  count_work(device, 4.0 * static_cast<double>(keys * wide),
             static_cast<double>(2 * keys * narrow * bytes_of(q.type) + q.bytes() + out.bytes()), WorkKind::kAttention,
             q.type);
  if (!device.executes() || k.size() == 0) return;
  by_float_type("attention_of_last: q", device, q.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.attention_of_last(device.execution(), {.extent = extent_of(shape, device_mask(device, shape, k.rows, {})),
                                                     .first = shape.sequence - seen,
                                                     .q = matrix<T>(q),
                                                     .k = matrix<T>(k),
                                                     .v = matrix<T>(v),
                                                     .out = matrix<T>(out),
                                                     .scores = static_cast<float*>(scores.data())});
  });
}

void attention_backward(Device& device, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& out, const Tensor& log_sum, const Tensor& dout, const Tensor& dq,
                        const Tensor& dk, const Tensor& dv, const AttentionMask& mask) {
  check_attention(shape);
  const AttentionExtent extent = extent_of(shape, device_mask(device, shape, q.rows, mask));
  check_heads(q, shape.heads * shape.head_dimension,
              {{"attention_backward: q", q},
               {"attention_backward: out", out},
               {"attention_backward: dout", dout},
               {"attention_backward: dq", dq}});
  check_heads(q, shape.key_value_heads * shape.head_dimension,
              {{"attention_backward: k", k},
               {"attention_backward: v", v},
               {"attention_backward: dk", dk},
               {"attention_backward: dv", dv}});
  check_shape("attention_backward: log_sum", log_sum, shape.batch * shape.heads, shape.sequence);
  check_contiguous("attention_backward: log_sum", log_sum);
  by_float_type("attention_backward: q", device, q.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    const Workspace scratch(
        device, functions.attention_backward_workspace(shape.batch, shape.sequence, shape.heads, shape.key_value_heads,
                                                       shape.head_dimension));
    count_work(device, pairs(shape) * 10.0 * static_cast<double>(shape.head_dimension),
               static_cast<double>(4 * q.bytes() + 4 * k.bytes() + log_sum.bytes()), WorkKind::kAttention, q.type);
    if (!device.executes() || q.size() == 0) return;
    functions.attention_backward(device.execution(), {.extent = extent,
                                                      .q = matrix<T>(q),
                                                      .k = matrix<T>(k),
                                                      .v = matrix<T>(v),
                                                      .out = matrix<T>(out),
                                                      .dout = matrix<T>(dout),
                                                      .dq = matrix<T>(dq),
                                                      .dk = matrix<T>(dk),
                                                      .dv = matrix<T>(dv),
                                                      .log_sum = log_sum.f32(),
                                                      .row_dots = static_cast<float*>(scratch.data())});
  });
}

}  // namespace galleon
