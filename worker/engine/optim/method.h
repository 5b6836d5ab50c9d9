// What a job's settings mean for its gradients: what is projected, when a gradient is needed whole, and what may be
// sent. A method decides over the path of a gradient, a rule (moments.h) over the update at its end. Pure: settings and
// shapes in, answers out.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/engine/ground/options.h"
#include "worker/engine/ground/parameters.h"

namespace galleon {

class Method {
 public:
  // micro_batches: passes of this rank in a step.
  Method(const OptimizerOptions& options, int64_t micro_batches, int ranks)
      : options_(options), micro_batches_(micro_batches), ranks_(ranks) {}

  const OptimizerOptions& options() const { return options_; }
  // Of a method that projects.
  const GaloreOptions& galore() const { return *options_.galore; }
  bool projects() const { return options_.method() == GradientMethod::kGalore; }
  int64_t micro_batches() const { return micro_batches_; }
  int ranks() const { return ranks_; }

  // A gradient lives from its only contribution in a step to its update.
  bool one_pass_per_layer() const { return options_.per_layer && micro_batches_ == 1; }
  // Nothing is sent, and nothing is updated before the end of the step.
  bool waits_for_end_of_step() const { return !options_.per_layer && options_.zero < 2 && ranks_ == 1; }

  // Whether bases come from gradients, and are not drawn.
  bool refreshes_from_gradients() const { return projects() && galore().refresh != RefreshMethod::kRandom; }
  // Whether a search asks for exact singular vectors, of a matrix that has a basis or not.
  bool refreshes_exactly(bool has_basis) const {
    return galore().refresh == RefreshMethod::kExact || (!has_basis && galore().exact_first_basis);
  }
  // First bases from rounds over all passes of the first step: a whole gradient for every matrix at once would not fit.
  bool first_bases_in_rounds() const;
  // Whether a gradient under refresh is formed a tile of rows at a time and never whole. An exact basis needs all of
  // it, several passes add theirs up, and a dense norm asks for every gradient. With per-step update the sums of all
  // parameters are there at once, and a dense gradient is small beside them.
  bool refreshes_in_tiles() const;
  // Whether the whole gradient of a projected matrix is ever sent.
  bool sends_whole_gradients() const { return galore().refresh == RefreshMethod::kExact || galore().exact_first_basis; }
  // Whether a matrix over the vocabulary can be updated by rows, as the backward forms its gradient: what stands in the
  // way is the norm of the whole, a rule that looks at all rows, several passes a step and several ranks.
  bool updates_by_rows() const;

  // Of the sums of a parameter's gradients.
  DataType accumulator_type(const Parameter& p) const;
  // Whether its gradient takes turns with others in the staging memory. all: what is trained.
  bool staged(const Parameter& p, const std::vector<Parameter>& all) const;
  // Whether own rows of its sum over ranks are kept apart from its accumulator.
  bool keeps_own_rows(const Parameter& p, bool staged) const;

 private:
  OptimizerOptions options_;
  int64_t micro_batches_;
  int ranks_;
};

}  // namespace galleon
