#include "worker/engine/optim/groups.h"

namespace galleon {

const GroupOptions& group_of(const OptimizerOptions& options, const Parameter& p) {
  static constexpr GroupOptions kMatrix;
  switch (p.group) {
    case ParameterGroup::kEmbedding:
      return options.embeddings;
    case ParameterGroup::kNorm:
      return options.norms;
    case ParameterGroup::kBias:
      return options.biases;
    case ParameterGroup::kHead:
      return options.head;
    case ParameterGroup::kClassifier:
      return p.vector ? options.biases : options.head;
    case ParameterGroup::kAttention:
    case ParameterGroup::kMlp:
      return p.vector ? options.biases : kMatrix;
  }
  return kMatrix;
}

std::vector<std::pair<std::string, double>> rates_beside(const OptimizerOptions& options, double rate) {
  const double embedding = options.embeddings.rate;
  const double head = options.head.rate;
  const double vectors = options.norms.rate;
  if (embedding == 1 && head == 1 && vectors == 1) return {};
  return {{"embedding", rate * embedding}, {"head", rate * head}, {"vectors", rate * vectors}};
}

}  // namespace galleon
