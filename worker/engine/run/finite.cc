#include "worker/engine/run/finite.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "kernels/ops/reduction.h"

namespace galleon {

namespace {

// Of those that this rank holds.
std::string first_weight_not_finite(const std::vector<Parameter>& parameters, Device& device) {
  for (const Parameter& p : parameters) {
    if (p.shard_rows > 0 && !all_finite(device, p.shard)) return p.name;
  }
  return "";
}

std::string first_of_all_ranks(const std::string& own, Communicator& communicator) {
  for (const std::string& name : communicator.all_gather_text(own))
    if (!name.empty()) return name;
  return "";
}

std::string largest_weight(const std::vector<Parameter>& parameters, Device& device, Communicator& communicator) {
  std::vector<double> squares;
  for (const Parameter& p : parameters) {
    const bool counts = p.sharded ? p.shard_rows > 0 : communicator.rank() == 0;
    squares.push_back(counts ? sum_of_squares(device, p.shard) : 0.0);
  }
  communicator.all_reduce_host(squares);
  std::string name;
  double largest = -1;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    const double root = std::sqrt(squares[i] / static_cast<double>(p.rows() * p.columns()));
    if (root <= largest) continue;
    largest = root;
    name = p.name;
  }
  return absl::StrCat(name, " (root mean square ", largest, ")");
}

}  // namespace

std::string suspected_weight(const std::vector<Parameter>& parameters, Device& device, Communicator& communicator) {
  const std::string bad = first_of_all_ranks(first_weight_not_finite(parameters, device), communicator);
  if (!bad.empty()) return absl::StrCat(bad, " holds a number that is not finite");
  return absl::StrCat("all weights are finite, the largest being those of ",
                      largest_weight(parameters, device, communicator));
}

std::string first_not_finite(const std::vector<Parameter>& parameters, Optimizer& optimizer, Device& device,
                             Communicator& communicator) {
  std::string own = first_weight_not_finite(parameters, device);
  for (const StatePiece& piece : optimizer.state()) {
    if (!own.empty()) break;
    // Quantised state has no code for such a number.
    if (piece.tensor.type == DataType::kFloat32 && !all_finite(device, piece.tensor)) own = piece.name;
  }
  return first_of_all_ranks(own, communicator);
}

}  // namespace galleon
