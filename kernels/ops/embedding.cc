#include "kernels/ops/embedding.h"

#include "kernels/ops/index_check.h"
#include "kernels/ops/operands.h"

namespace galleon {
namespace {

void check_ids(Device& device, const char* id, const Tensor& ids, int64_t vocabulary) {
  check_indices(device, ids, {id, "token", "a vocabulary of", vocabulary, 0, vocabulary});
}

}  // namespace

void embedding(Device& device, const Tensor& ids, const Tensor& table, const Tensor& x) {
  check_vector("embedding: ids", ids, x.rows, DataType::kInt32);
  check_shape("embedding: table", table, table.rows, table.columns, x.type);
  check_shape("embedding: x", x, x.rows, table.columns, x.type);
  count_work(device, 0.0, static_cast<double>(2 * x.bytes() + ids.bytes()));
  if (!device.executes() || x.size() == 0) return;
  check_ids(device, "embedding: id", ids, table.rows);
  by_float_type("embedding: x", device, x.type, [&](const auto& functions, auto element) {
    using T = decltype(element);
    functions.embedding(device.execution(), x.rows, x.columns, table.rows, ids.i32(), matrix<T>(table), matrix<T>(x));
  });
}

void embedding_backward(Device& device, const Tensor& ids, const Tensor& dx, const Tensor& dtable) {
  check_vector("embedding_backward: ids", ids, dx.rows, DataType::kInt32);
  check_shape("embedding_backward: dtable", dtable, dtable.rows, dtable.columns);
  check_shape("embedding_backward: dx", dx, dx.rows, dtable.columns, dx.type);
  by_float_type("embedding_backward: dx", device, dx.type, [&](const auto& functions, auto element) {
    const Workspace scratch(device, functions.embedding_backward_workspace(dx.rows));
    count_work(device, static_cast<double>(dx.size()), static_cast<double>(3 * dx.bytes() + ids.bytes()));
    if (!device.executes() || dx.size() == 0) return;
    check_ids(device, "embedding_backward: id", ids, dtable.rows);
    functions.embedding_backward(device.execution(), dx.rows, dx.columns, dtable.rows, ids.i32(),
                                 matrix<decltype(element)>(dx), matrix<float>(dtable), scratch.data());
  });
}

}  // namespace galleon
