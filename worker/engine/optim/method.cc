#include "worker/engine/optim/method.h"

#include <algorithm>

#include "worker/engine/optim/rules.h"

namespace galleon {

bool Method::first_bases_in_rounds() const {
  return projects() && micro_batches_ > 1 && galore().refresh == RefreshMethod::kSubspace &&
         !galore().exact_first_basis;
}

bool Method::refreshes_in_tiles() const {
  return one_pass_per_layer() && galore().refresh == RefreshMethod::kSubspace && !galore().exact_first_basis &&
         !options_.clip_dense;
}

bool Method::updates_by_rows() const {
  return one_pass_per_layer() && ranks_ == 1 && kind_of(kind_of(options_.rule).rest).by_rows && !options_.clip_dense;
}

// Only sums of products are kept in bf16: each adds a whole micro-batch at once. Norms and the embedding receive one
// token after another, and a state that every rank holds is small.
DataType Method::accumulator_type(const Parameter& p) const {
  const bool products = !p.vector && p.group != ParameterGroup::kEmbedding && !p.two_sided;
  return products ? options_.accumulate_type : DataType::kFloat32;
}

// Gradients that live until they are reduced and no longer: with one micro-batch and per-layer update all of them; when
// accumulators are sharded, those of a micro-batch. Norms are too small to matter, and an embedding that is the head as
// well is used at both ends of a pass.
bool Method::staged(const Parameter& p, const std::vector<Parameter>& all) const {
  if (p.vector) return false;
  if (p.by_rows) return true;
  const bool looked_up_alone =
      p.group == ParameterGroup::kEmbedding && std::none_of(all.begin(), all.end(), [&](const Parameter& other) {
        return other.group == ParameterGroup::kHead && other.out == p.out && other.in == p.in;
      });
  if (looked_up_alone) return false;
  return one_pass_per_layer() || (options_.zero >= 2 && !p.two_sided);
}

bool Method::keeps_own_rows(const Parameter& p, bool staged) const {
  if (options_.zero < 2 || p.two_sided) return false;
  return staged ? !one_pass_per_layer() : micro_batches_ > 1;
}

}  // namespace galleon
