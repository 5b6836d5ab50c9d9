#include "worker/engine/run/finite.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "kernels/ops/reduction.h"

namespace galleon {

std::string first_weight_not_finite(const std::vector<Parameter>& parameters, Device& device) {
  for (const Parameter& p : parameters) {
    if (!all_finite(device, p.weight)) return p.name;
  }
  return "";
}

std::string largest_weight(const std::vector<Parameter>& parameters, Device& device) {
  std::string name;
  double largest = -1;
  for (const Parameter& p : parameters) {
    const double root = std::sqrt(sum_of_squares(device, p.weight) / static_cast<double>(p.weight.size()));
    if (root <= largest) continue;
    largest = root;
    name = p.name;
  }
  return absl::StrCat(name, " (root mean square ", largest, ")");
}

std::string first_not_finite(const std::vector<Parameter>& parameters, Optimizer& optimizer, Device& device,
                             Communicator& communicator) {
  std::string own = first_weight_not_finite(parameters, device);
  for (const StatePiece& piece : optimizer.state()) {
    if (!own.empty()) break;
    // Quantised state has no code for such a number.
    if (piece.tensor.type == DataType::kFloat32 && !all_finite(device, piece.tensor)) own = piece.name;
  }
  for (const std::string& name : communicator.all_gather_text(own)) {
    if (!name.empty()) return name;
  }
  return "";
}

}  // namespace galleon
