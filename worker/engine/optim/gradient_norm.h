// The norm of a step's gradient, and with it the parameter whose gradient holds a number that is not finite: squares
// tell of it without another pass.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/optim/gradient_path.h"

namespace galleon {

class GradientNorm {
 public:
  // parameters: how many can be noted in a step.
  GradientNorm(int64_t parameters, Arena& arena);

  void begin_step();
  // Notes own rows' squares after their reduction. They stay on the device, so that no gradient is waited for.
  void note(Device& device, GradientPath& path);
  struct Noted {
    GradientPath* path;
    double squares;
  };
  // What has been noted in this step.
  std::vector<Noted> read(Device& device);

  void add(const Parameter& p, double squares);
  double squares() const { return squares_; }
  // Of the parameters whose squares are not finite the one nearest to the loss, by index; -1: none.
  int not_finite() const { return not_finite_; }

 private:
  Tensor noted_squares_;  // a double for each parameter, in the order of `noted_`
  std::vector<GradientPath*> noted_;
  double squares_ = 0;
  int not_finite_ = -1;
};

}  // namespace galleon
