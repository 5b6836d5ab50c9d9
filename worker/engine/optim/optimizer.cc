// From a layer's factors to its weight, from top to bottom: linear, finished, complete, take_reduced, update,
// make_update, apply_updates.
#include "worker/engine/optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/reduction.h"
#include "worker/engine/optim/in_type.h"
#include "worker/engine/optim/rules.h"
#include "worker/engine/optim/schedule.h"

namespace galleon {

namespace {

Factors factors_of(const Parameter& p, const Tensor& x, const Tensor& dy) {
  return p.transposed ? Factors{x, dy} : Factors{dy, x};
}

std::vector<GradientPath*> pointers_to(const std::vector<std::unique_ptr<GradientPath>>& owned) {
  std::vector<GradientPath*> paths;
  paths.reserve(owned.size());
  for (const std::unique_ptr<GradientPath>& path : owned) paths.push_back(path.get());
  return paths;
}

std::vector<ProjectedPath*> projected_among(const std::vector<GradientPath*>& paths) {
  std::vector<ProjectedPath*> projected;
  for (GradientPath* path : paths) {
    if (path->projected() != nullptr) projected.push_back(path->projected());
  }
  return projected;
}

}  // namespace

void cut_weights(const OptimizerOptions& options, int rank, int ranks, std::vector<Parameter>& parameters) {
  for (Parameter& p : parameters) {
    p.sharded = options.zero >= 3 && ranks > 1 && !p.vector;
    if (!p.sharded) continue;
    p.shard_unit = p.two_sided ? 1 : shard_unit(options, p);
    const RowRange own = rows_of_rank(p.rows(), rank, ranks, p.shard_unit, p.turn);
    p.first_row = own.begin;
    p.shard_rows = own.count;
  }
}

Optimizer::Optimizer(const OptimizerOptions& options, std::vector<Parameter>& parameters, int64_t micro_batches,
                     Arena& arena, Communicator& communicator)
    : method_(options, micro_batches, communicator.ranks()),
      parameters_(parameters),
      device_(arena.device()),
      communicator_(communicator),
      owned_(make_paths(arena)),
      paths_(pointers_to(owned_)),
      reducer_(method_, device_, communicator, paths_, parameters, arena,
               {[this](Paths bucket) { take_reduced(bucket); }, [this](Paths bucket) { apply_updates(bucket); }}),
      norm_(static_cast<int64_t>(parameters.size()), arena),
      search_(method_, projected_among(paths_), device_, communicator, arena, reducer_, norm_,
              [this](GradientPath& path) { complete(path); }) {}

std::vector<std::unique_ptr<GradientPath>> Optimizer::make_paths(Arena& arena) const {
  std::vector<std::unique_ptr<GradientPath>> paths;
  int projected = 0;
  for (const Parameter& p : parameters_) {
    const Gradient gradient = Gradient::of(p, method_, communicator_);
    paths.push_back(make_path(device_, method_, p, gradient, projected, arena));
    if (p.rank > 0) ++projected;
    const CompactMatrix matrix{p.name,      p.compact_rows(), p.compact_columns(),
                               p.vector,    gradient.own,     gradient.replicated,
                               p.row_block, p.dealt,          p.group};
    paths.back()->rule().moments = allocate_moments(options_for(method_.options(), p), matrix, arena);
  }
  return paths;
}

// ---- A step begins, and its passes.

void Optimizer::begin_step(int64_t step) {
  step_ = step;
  communicator_.set_step(step);
  const OptimizerOptions& options = method_.options();
  learning_rate_ = options.learning_rate * schedule_multiplier(options.schedule, step);
  norm_.begin_step();
  for (GradientPath* path : paths_) path->gradient().begin_step();
  search_.begin_step(step);
}

void Optimizer::begin_round(int round) {
  forget_contributions();
  search_.begin_round(round);
}

void Optimizer::end_round() {
  forget_contributions();
  search_.end_round();
}

// What is no product was added up for nothing.
void Optimizer::forget_contributions() {
  for (GradientPath* path : paths_) path->gradient().filled = false;
}

void Optimizer::begin_micro_batch(int64_t index) {
  reducer_.flush();
  reducer_.finish_reduce();
  micro_batch_ = index;
}

// ---- The way of a gradient: contributions.

void Optimizer::linear(int parameter, const Tensor& x, const Tensor& dy) {
  GradientPath& path = *paths_[parameter];
  const Factors g = factors_of(path.parameter(), x, dy);
  ProjectedPath* const projected = path.projected();
  if (search_.in_round()) {
    if (projected != nullptr) search_.add_in_round(*projected, g);
    return;
  }
  if (projected != nullptr && search_.wants(*projected)) {
    search_.add(*projected, g);
    return;
  }
  if (projected != nullptr && method_.options().clip_dense)
    norm_.add(path.parameter(), search_.dense_squares(*projected, g));
  reducer_.place(path);
  path.add(g);
}

Tensor Optimizer::dense(int parameter) {
  reducer_.place(*paths_[parameter]);
  return paths_[parameter]->dense();
}

int64_t Optimizer::rows_at_once(int parameter) const {
  const ByRowsPath* const path = paths_[parameter]->by_rows();
  return path != nullptr ? path->rows_at_once() : 0;
}

Tensor Optimizer::dense_rows(int parameter, int64_t /*first*/, int64_t count) {
  GradientPath& path = *paths_[parameter];
  reducer_.place(path);
  path.gradient().filled = true;
  return path.gradient().accumulator.row_range(0, count);
}

void Optimizer::finished_rows(int parameter, int64_t first, int64_t count) {
  GradientPath& path = *paths_[parameter];
  const Tensor rows = path.gradient().accumulator.row_range(0, count);
  norm_.add(path.parameter(), sum_of_squares(device_, rows));
  path.by_rows()->update(rule_step(path, path.rule().count + 1, 1.0), step_, first, rows);
  reducer_.release({&path});
}

// ---- All contributions of a pass are in.

void Optimizer::finished(int parameter) {
  GradientPath& path = *paths_[parameter];
  Gradient& gradient = path.gradient();
  if (search_.in_round()) {
    reducer_.release({&path});
    return;
  }
  if (path.by_rows() != nullptr) {
    ++path.rule().count;
    gradient.reduced = true;
    return;
  }
  ProjectedPath* const projected = path.projected();
  const bool held = projected != nullptr && search_.holds(*projected);
  if (!last_pass() && (held || !gradient.keeps)) return;
  GALLEON_CHECK(gradient.filled) << path.parameter().name << " got no gradient in step " << step_;
  held ? search_.search(*projected) : complete(path);
}

// The accumulator holds this rank's part: it waits for its bucket to be reduced.
void Optimizer::complete(GradientPath& path) {
  reducer_.add(path);
}

// ---- Own rows hold the sums over ranks of this pass.

void Optimizer::take_reduced(Paths paths) {
  for (GradientPath* path : paths) {
    Gradient& gradient = path->gradient();
    if (!last_pass()) continue;
    gradient.reduced = true;
    // What every rank holds is counted once, and a dense norm is counted elsewhere.
    if (gradient.own.count == 0 || (gradient.replicated && communicator_.rank() != 0)) continue;
    if (method_.options().clip_dense && !search_.measured(*path)) continue;
    norm_.note(device_, *path);
  }
  if (method_.options().per_layer && last_pass()) {
    update(paths, 1.0);
  } else {
    reducer_.release(paths);
  }
}

// ---- The rule turns sums into updates.

// Matrices whose partial sums are small travel together, up to a bucket of them.
void Optimizer::update(Paths paths, double gradient_scale) {
  gradient_scale_ = gradient_scale;
  const auto sums = [&](size_t i) { return paths[i]->rule().moments->sum_count() * bytes_of(DataType::kFloat32); };
  for (size_t first = 0; first < paths.size();) {
    size_t last = first;
    int64_t bytes = sums(last++);
    while (last < paths.size() && bytes + sums(last) <= kBucketBytes) bytes += sums(last++);
    update_together(paths.subspan(first, last - first));
    first = last;
  }
}

void Optimizer::update_together(Paths paths) {
  for (GradientPath* path : paths) search(*path);
  // Partial sums in one exchange; those of replicated matrices, which are whole already, lie behind.
  int64_t sharded = 0;
  int64_t whole = 0;
  for (const GradientPath* path : paths)
    (path->gradient().replicated ? whole : sharded) += path->rule().moments->sum_count();
  const Workspace memory(device_, (sharded + whole) * bytes_of(DataType::kFloat32));
  sum_over_rows(paths, memory.tensor(1, sharded + whole), sharded);
  for (const Reducer::Bucket& bucket : reducer_.update_buckets(paths)) update_bucket(bucket);
}

void Optimizer::search(GradientPath& path) {
  RuleState& rule = path.rule();
  const RuleStep step = rule_step(path, rule.count + 1, gradient_scale_);
  const int64_t interval = rule.moments->search_interval();
  if (interval == 0 || path.gradient().skipped) return;
  // Who has nothing yet, since all gradients so far were bad, looks at the first good one.
  if (rule.count > 0 && (step_ - 1) % interval != 0) return;
  const InType r(device_, path.gradient().own_rows(), DataType::kFloat32);
  rule.moments->search(device_, communicator_, step, r.tensor());
}

// sums (1×n): those of sharded matrices first, which are added up over ranks.
void Optimizer::sum_over_rows(Paths paths, const Tensor& sums, int64_t sharded) {
  int64_t next = 0;
  int64_t next_whole = sharded;
  for (GradientPath* path : paths) {
    RuleState& rule = path->rule();
    int64_t& at = path->gradient().replicated ? next_whole : next;
    rule.sums = sums.column_range(at, rule.moments->sum_count());
    at += rule.moments->sum_count();
    if (rule.sums.size() == 0) continue;
    if (path->gradient().skipped) {
      fill(device_, rule.sums, 0.0F);
      continue;
    }
    const InType r(device_, path->gradient().own_rows(), DataType::kFloat32);
    rule.moments->sum(device_, rule_step(*path, rule.count + 1, gradient_scale_), r.tensor(), rule.sums);
  }
  if (sharded > 0) communicator_.all_reduce(sums.column_range(0, sharded), Content::kStatistic);
}

// The updates of a bucket travel while those of the next are computed. What has no room in its gradient's place lies in
// the workspace, and is waited for.
void Optimizer::update_bucket(Paths bucket) {
  if (!communicator_.status().ok()) {
    reducer_.release(bucket);
    return;
  }
  const int64_t wide = reducer_.place_updates(bucket);
  const Workspace memory(device_, wide);
  reducer_.place_wide_updates(bucket, memory);
  for (GradientPath* path : bucket) {
    if (!path->gradient().skipped) make_update(*path);
  }
  reducer_.gather(bucket, wide > 0);
}

// The rule's update of own rows, among the rows of the whole one where that travels.
void Optimizer::make_update(GradientPath& path) {
  Gradient& g = path.gradient();
  RuleState& rule = path.rule();
  const RuleStep step = rule_step(path, ++rule.count, gradient_scale_);
  const InType own(device_, g.own_rows(), DataType::kFloat32);
  rule.moments->update(device_, step, 0, own.tensor(), rule.sums);
  const bool travels = reducer_.travels(path);
  if (!travels) g.update = g.own_rows();
  const Tensor here = travels ? g.update.row_range(g.own.begin, g.own.count) : g.update;
  if (here.rows == 0 || (here.data == own.tensor().data && here.type == own.tensor().type)) return;
  // Narrower numbers in the place of the wider ones that they are made of.
  const bool over_itself = travels && g.update.data == g.accumulator.data && !g.keeps;
  if (over_itself && here.type != g.accumulator.type) {
    const InType rounded(device_, own.tensor(), here.type);
    copy(device_, rounded.tensor(), here);
    return;
  }
  convert(device_, own.tensor(), here);
}

// ---- Updates are whole: they reach the weights.

void Optimizer::apply_updates(Paths bucket) {
  if (!communicator_.status().ok()) return;
  for (const GradientPath* path : bucket) {
    if (path->gradient().skipped) continue;
    path->apply(path->gradient().update,
                path->weight_update(rule_step(*path, path->rule().count, gradient_scale_), step_));
  }
}

// ---- The step ends.

StepReport Optimizer::end_step() {
  search_.search_collected();
  reducer_.flush();
  reducer_.finish_reduce();
  reducer_.finish_gather();
  std::vector<GradientPath*> left;
  for (GradientPath* path : paths_) {
    if (!path->gradient().reduced) left.push_back(path);
  }
  reducer_.reduce(left);
  StepReport report;
  const bool finite = measure_norm(report);
  if (finite && !method_.options().per_layer) {
    const double most = method_.options().clip_norm;
    const bool clip = most > 0 && report.grad_norm > most;
    // The small number keeps the field's usual formula (torch.nn.utils.clip_grad_norm_).
    update(paths_, clip ? most / (report.grad_norm + 1e-6) : 1.0);
    reducer_.finish_gather();
  }
  static_cast<RefreshReport&>(report) = search_.report();
  return report;
}

bool Optimizer::measure_norm(StepReport& report) {
  const bool dense = method_.options().clip_dense;
  for (const GradientNorm::Noted& noted : norm_.read(device_)) {
    search_.set_captured(*noted.path, noted.squares);
    if (!dense) norm_.add(noted.path->parameter(), noted.squares);
  }
  search_.stop_clock();
  // A dense norm exists on a single rank only, where own rows are all rows and full-rank parameters count as they are.
  for (GradientPath* path : paths_) {
    if (dense && path->projected() == nullptr)
      norm_.add(path->parameter(), sum_of_squares(device_, path->gradient().accumulator));
  }
  std::vector<double> sums{norm_.squares()};
  search_.add_parts(sums);
  communicator_.all_reduce_host(sums);
  report.learning_rate = learning_rate_;
  report.grad_norm = std::sqrt(sums[0]);
  if (!std::isfinite(report.grad_norm)) {
    report.not_finite = nearest_not_finite();
    return false;
  }
  search_.take_sums(absl::MakeConstSpan(sums).subspan(1));
  return true;
}

// Of all ranks.
std::string Optimizer::nearest_not_finite() {
  int nearest = -1;
  for (const std::string& told : communicator_.all_gather_text(absl::StrCat(norm_.not_finite()))) {
    int index = -1;
    if (absl::SimpleAtoi(told, &index)) nearest = std::max(nearest, index);
  }
  return nearest >= 0 ? parameters_[nearest].name : "some parameter";
}

// ---- What a checkpoint keeps.

std::vector<StatePiece> Optimizer::state() const {
  std::vector<StatePiece> pieces;
  for (const GradientPath* path : paths_) path->add_state(pieces);
  return pieces;
}

std::vector<int64_t> Optimizer::counts() const {
  std::vector<int64_t> counts;
  for (const GradientPath* path : paths_) counts.push_back(path->rule().count);
  return counts;
}

std::vector<RefreshPace> Optimizer::paces() const {
  std::vector<RefreshPace> paces;
  for (GradientPath* path : paths_)
    paces.push_back(path->projected() != nullptr ? path->projected()->subspace().pace() : RefreshPace{});
  return paces;
}

void Optimizer::resume(const std::vector<int64_t>& counts, const std::vector<RefreshPace>& paces) {
  GALLEON_CHECK_EQ(counts.size(), paths_.size());
  GALLEON_CHECK_EQ(paces.size(), paths_.size());
  for (size_t i = 0; i < paths_.size(); ++i) {
    paths_[i]->rule().count = counts[i];
    if (ProjectedPath* const projected = paths_[i]->projected()) projected->subspace().resume(paces[i]);
  }
}

int64_t Optimizer::refresh_interval() const {
  if (method_.projects()) return method_.galore().refresh_interval;
  int64_t longest = 1;
  for (const GradientPath* path : paths_) longest = std::max(longest, path->rule().moments->search_interval());
  return longest;
}

std::vector<int64_t> Optimizer::refreshes(int64_t first) const {
  const std::vector<int64_t> of_bases = search_.refreshes(first);
  std::set<int64_t> steps(of_bases.begin(), of_bases.end());
  for (const GradientPath* path : paths_) {
    const int64_t interval = path->rule().moments->search_interval();
    if (interval > 0) steps.insert((first - 1 + interval - 1) / interval * interval + 1);
  }
  return {steps.begin(), steps.end()};
}

void Optimizer::inject_basis(int parameter, const float* basis, const float* rows) {
  ProjectedPath* const path = paths_[parameter]->projected();
  GALLEON_CHECK(path != nullptr) << parameters_[parameter].name << " is not projected";
  path->subspace().inject(device_, basis, rows);
}

}  // namespace galleon
