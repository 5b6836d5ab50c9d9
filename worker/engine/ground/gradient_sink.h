// Where a model's backward leaves its gradients: as factors, not as products, so that a weight gradient can be computed
// directly in the subspace, dYᵀ·(X·P). What becomes of them (a sum of low rank, a dense one, an update at once) is the
// sink's business.
#pragma once

#include "kernels/tensor.h"

namespace galleon {

class GradientSink {
 public:
  virtual ~GradientSink() = default;

  // The gradient of a linear layer y = x·Wᵀ is dyᵀ·x (out×in). x: tokens×in, dy: tokens×out. May be called several
  // times for one parameter within a micro-batch; the contributions add up.
  virtual void linear(int parameter, const Tensor& x, const Tensor& dy) = 0;

  // The accumulator of a parameter that is not a linear layer (norm, embedding), to add into, in the stored shape.
  virtual Tensor dense(int parameter) = 0;

  // Of a matrix that is updated by rows (Parameter::by_rows) neither of these is called. The model takes its rows in
  // order, at most `rows_at_once` at a time: `dense_rows` gives memory for their gradient, of undefined contents, and
  // with `finished_rows` they may be updated.
  virtual int64_t rows_at_once(int /*parameter*/) const { return 0; }
  virtual Tensor dense_rows(int /*parameter*/, int64_t /*first*/, int64_t /*count*/) { return {}; }
  virtual void finished_rows(int /*parameter*/, int64_t /*first*/, int64_t /*count*/) {}

  // Everything of this micro-batch is in, and its weight is not needed by this backward any more: the sink may update
  // it now. A tied matrix is finished after its second use.
  virtual void finished(int parameter) = 0;
};

}  // namespace galleon
