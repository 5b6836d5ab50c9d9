// Whose basis is searched in a step, from what, and what becomes of the moments. A matrix that is due accumulates its
// whole gradient (or shows it in tiles), its new basis is found, and its projected gradient goes the usual way, so that
// the step already uses the new basis.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/optim/first_bases.h"
#include "worker/engine/optim/gradient_norm.h"
#include "worker/engine/optim/gradient_path.h"
#include "worker/engine/optim/method.h"
#include "worker/engine/optim/reducer.h"
#include "worker/engine/optim/whole_gradients.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// What the searches of one step did.
struct RefreshReport {
  int refreshed = 0;          // matrices
  int skipped_refreshes = 0;  // gradients that were not finite
  double overlap_sum = 0;     // over refreshed matrices that had a basis before
  int overlaps = 0;
  double energy_sum = 0;  // ‖G·P‖² / ‖G‖² of the mean gradient and the new basis, over refreshes that saw the gradient
  int energies = 0;
  double refresh_seconds = 0;  // of the device
};

class BasisSearch {
 public:
  // `complete` is told of each gradient that a search has left in its accumulator.
  BasisSearch(const Method& method, std::vector<ProjectedPath*> matrices, Device& device, Communicator& communicator,
              Arena& arena, Reducer& reducer, GradientNorm& norm, std::function<void(GradientPath&)> complete);

  // Of the interval that begins with this step, those at which some basis is searched, in order.
  std::vector<int64_t> refreshes(int64_t first) const;
  // With random bases, those that are due change here; a collective.
  void begin_step(int64_t step);

  // Rounds over all micro-batches that must come before a step (first_bases.h); 0: none.
  int first_rounds() const;
  void begin_round(int round);
  bool in_round() const { return first_ != nullptr; }
  void add_in_round(const ProjectedPath& path, const Factors& g) { first_->add(path, g); }
  void end_round();

  // Whether this step's search wants the whole gradient of the matrix, and not its projection.
  bool wants(const ProjectedPath& path) const;
  // A contribution to it. Where it is seen in tiles, the search is over afterwards.
  void add(ProjectedPath& path, const Factors& g);
  // Whether the gradient is still to be searched when it has all of its contributions.
  bool holds(const ProjectedPath& path) const { return wants(path) && !method_.refreshes_in_tiles(); }
  // It has: searches at once, or, for an exact basis of several ranks, when as many matrices as there are ranks wait,
  // each searched by a rank of its own.
  void search(ProjectedPath& path);
  void search_collected();

  // For a norm of dense gradients: ‖aᵀ·b‖².
  double dense_squares(const ProjectedPath& path, const Factors& g);

  // Energies are sums over ranks: this rank's parts of the matrices that were measured, and what came of them.
  void set_captured(GradientPath& path, double squares);
  bool measured(GradientPath& path) const;
  void add_parts(std::vector<double>& sums) const;
  void take_sums(absl::Span<const double> sums);
  // Of this step so far, with the device's seconds since the last.
  RefreshReport& report() { return report_; }
  void stop_clock() { report_.refresh_seconds = clock_->take(); }

 private:
  // Of a matrix in this step.
  struct Measure {
    bool found_in_rounds = false;  // the first basis was found for this very step
    int owner = -1;                // who searches this step's exact basis
    bool known = false;
    double energy = 0;  // this rank's part of ‖G‖², beyond what the basis keeps if `beyond`
    bool beyond = false;
    double captured = 0;  // this rank's part of what the basis keeps
  };

  Measure& measure(const ProjectedPath& path) { return measures_[path.subspace().index()]; }
  const Measure& measure(const ProjectedPath& path) const { return measures_[path.subspace().index()]; }
  int most_due() const;
  int64_t phase(const ProjectedPath& path) const;
  bool due(const ProjectedPath& path, int64_t step) const;
  uint64_t seed(const ProjectedPath& path) const;
  int owner_of(const ProjectedPath& path) const;
  bool exact(const ProjectedPath& path) const { return method_.refreshes_exactly(path.subspace().known()); }

  void draw(ProjectedPath& path);
  void collect(ProjectedPath& path, const Tensor& g);
  void search_alone(ProjectedPath& path, const Tensor& g);
  void project(ProjectedPath& path, RowTiles& g, const Tensor& found);
  bool refresh(ProjectedPath& path, RowTiles& g, const Tensor& found);
  void take(ProjectedPath& path, const FoundBases& found);
  void pace_next(ProjectedPath& path, double overlap);
  double estimated_energy(const ProjectedPath& path, RowTiles& g);

  const Method& method_;
  std::vector<ProjectedPath*> matrices_;
  Device& device_;
  Communicator& communicator_;
  Reducer& reducer_;
  GradientNorm& norm_;
  std::function<void(GradientPath&)> complete_;
  std::unique_ptr<Stopwatch> clock_;
  WholeGradients whole_;
  int64_t step_ = 0;
  std::vector<Measure> measures_;  // by projected matrix
  std::unique_ptr<FirstBases> first_;
  std::vector<ProjectedPath*> collected_;  // that wait for their exact bases, by owner
  Tensor collected_gradient_;              // the sum of which this rank searches the basis
  RefreshReport report_;
};

}  // namespace galleon
