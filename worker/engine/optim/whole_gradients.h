// Memory for whole gradients of projected matrices, which exist while a basis is searched and for a dense norm: one
// that lies between a contribution and its use, and those that are added up over several passes.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/optim/gradient_path.h"
#include "worker/engine/optim/method.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

class WholeGradients {
 public:
  // Room for the largest of `matrices`, and for `sums` that are added up over passes at the same time. Nothing is
  // allocated where the method never needs a whole gradient.
  WholeGradients(const Method& method, const std::vector<ProjectedPath*>& matrices, int sums, Arena& arena,
                 Communicator& communicator);

  // rows×columns, fp32, valid until the next is asked for.
  Tensor scratch(const Parameter& p) const;
  // Some rows of it.
  Tensor tile(const Parameter& p, int64_t rows) const;
  // Where the matrix's gradient of this step is added up: its own until give_back(), or with one pass the scratch.
  Tensor sum(const Parameter& p);
  void give_back(const Parameter& p);
  // A sum over ranks that this rank keeps for its search; the copy.
  Tensor keep_collected(Device& device, const Tensor& g);

 private:
  struct Sum {
    Tensor memory;
    int lent_to = -1;  // index of a parameter
  };

  bool one_pass_ = true;
  Tensor scratch_;
  Tensor collected_;
  std::vector<Sum> sums_;
};

}  // namespace galleon
