#include "worker/engine/optim/reducer.h"

#include <algorithm>
#include <utility>

#include "kernels/math/multiples.h"

namespace galleon {

namespace {

// Buckets that a step's gradients take at least, so that most of them travel beside the backward.
constexpr int64_t kLeastBuckets = 8;

}  // namespace

Reducer::Reducer(const Method& method, Device& device, Communicator& communicator, Paths paths,
                 const std::vector<Parameter>& parameters, Arena& arena, Next next)
    : method_(method), device_(device), communicator_(communicator), next_(std::move(next)) {
  allocate_accumulators(paths, parameters, arena);
  allocate_staging(paths, arena);
  allocate_flight(paths, arena);
}

void Reducer::allocate_accumulators(Paths paths, const std::vector<Parameter>& parameters, Arena& arena) {
  int64_t sum = 0;
  for (GradientPath* path : paths) {
    const Parameter& p = path->parameter();
    Gradient& g = path->gradient();
    const Tensor shape = g.accumulator;
    g.staged = method_.staged(p, parameters);
    g.keeps = method_.keeps_own_rows(p, g.staged);
    sum += g.staged_bytes();
    if (!g.staged) {
      g.accumulator =
          arena.tensor(p.name + ".gradient", MemoryCategory::kGradients, shape.rows, shape.columns, shape.type);
    }
    if (g.keeps) {
      g.kept = arena.tensor(p.name + (g.staged ? ".gradient" : ".gradient.own"), MemoryCategory::kGradients,
                            g.own.count, shape.columns, shape.type);
    }
  }
  // A bucket is a small part of all gradients also where these are small: memory is what staging is for.
  bucket_bytes_ = std::min(kBucketBytes, sum / kLeastBuckets);
}

// Room for the largest gradient or a bucket; and while one bucket is filled another is reduced, and the updates of a
// third come back.
void Reducer::allocate_staging(Paths paths, Arena& arena) {
  int64_t largest = 0;
  int64_t largest_in_block = 0;
  for (const GradientPath* path : paths) {
    if (!path->gradient().staged) continue;
    const int64_t bytes = path->gradient().staged_bytes();
    largest = std::max(largest, bytes);
    if (path->parameter().block >= 0) largest_in_block = std::max(largest_in_block, bytes);
  }
  if (largest == 0) return;
  const int64_t bucket = std::max(largest_in_block, bucket_bytes_);
  const int64_t in_flight = communicator_.ranks() == 1 ? 0 : bucket * (method_.one_pass_per_layer() ? 2 : 1);
  const int64_t bytes = std::max(largest, bucket) + in_flight;
  staging_ = StagingMemory(arena.tensor("staged gradients", MemoryCategory::kGradients, bytes, 1, DataType::kUint8));
}

// Room for the largest matrix, which travels alone, and for any bucket.
void Reducer::allocate_flight(Paths paths, Arena& arena) {
  int64_t bytes = 0;
  int64_t together = 0;
  for (GradientPath* path : paths) {
    if (path->gradient().replicated) continue;
    GradientPath* const alone[] = {path};
    const int64_t needed = communicator_.reduction_bytes(sharded(alone), method_.options().wire_type);
    bytes = std::max(bytes, needed);
    together += needed;
  }
  bytes = std::max(bytes, std::min(together, 2 * kBucketBytes));
  flight_memory_ = arena.tensor("reduction under way", MemoryCategory::kGradients, bytes, 1, DataType::kUint8);
}

void Reducer::place(GradientPath& path) {
  while (path.gradient().accumulator.data == nullptr && !try_place(path)) {
    if (!gathering_.empty()) {
      finish_gather();
    } else if (!reducing_.empty()) {
      finish_reduce();
    } else {
      GALLEON_CHECK(!filling_.empty()) << path.parameter().name << ": a gradient is staged that is not finished";
      flush();
    }
  }
}

bool Reducer::try_place(GradientPath& path) {
  Gradient& g = path.gradient();
  g.accumulator.data = staging_.take(g.staged_bytes());
  return g.accumulator.data != nullptr;
}

void Reducer::release(Paths paths) {
  for (GradientPath* path : paths) {
    Gradient& g = path->gradient();
    if (!g.staged || g.accumulator.data == nullptr) continue;
    staging_.give_back(g.accumulator.data);
    g.accumulator.data = nullptr;
  }
}

void Reducer::add(GradientPath& path) {
  if (method_.waits_for_end_of_step()) return;
  const int64_t bytes = path.gradient().staged_bytes();
  if (filling_bytes_ + bytes > bucket_bytes_) flush();
  filling_.push_back(&path);
  filling_bytes_ += bytes;
  if (filling_bytes_ >= bucket_bytes_) flush();
}

void Reducer::flush() {
  if (filling_.empty()) return;
  const Bucket bucket = std::exchange(filling_, {});
  filling_bytes_ = 0;
  finish_reduce();
  const std::vector<ShardedRows> cut = sharded(bucket);
  const DataType wire = method_.options().wire_type;
  reducing_ = bucket;
  if (!cut.empty() && communicator_.ranks() > 1 && communicator_.reduction_bytes(cut, wire) <= flight_memory_.bytes()) {
    communicator_.begin_reduce_scatter_rows(cut, wire, flight_memory_);
    return;
  }
  if (!cut.empty()) communicator_.reduce_scatter_rows(cut, wire);
  finish_reduce();
}

void Reducer::finish_reduce() {
  if (reducing_.empty()) return;
  const Bucket bucket = std::exchange(reducing_, {});
  communicator_.finish_reduce_scatter();
  take_reduced(bucket);
}

void Reducer::reduce(Paths paths) {
  for (const Bucket& bucket : buckets(paths)) {
    const std::vector<ShardedRows> cut = sharded(bucket);
    if (!cut.empty()) communicator_.reduce_scatter_rows(cut, method_.options().wire_type);
    take_reduced(bucket);
  }
}

std::vector<ShardedRows> Reducer::sharded(Paths paths) {
  std::vector<ShardedRows> cut;
  for (const GradientPath* path : paths) {
    const Gradient& g = path->gradient();
    if (!g.replicated) cut.push_back({g.accumulator, g.shard_unit, g.content, g.turn});
  }
  return cut;
}

// What every rank holds whole is reduced too, and own rows go where they are kept.
void Reducer::take_reduced(Paths paths) {
  std::vector<Tensor> whole;
  for (const GradientPath* path : paths) {
    if (path->gradient().replicated) whole.push_back(path->gradient().accumulator);
  }
  if (!whole.empty()) communicator_.all_reduce(whole, Content::kProjectedGradient);
  for (GradientPath* path : paths) path->gradient().keep_own_rows(device_);
  next_.reduced(paths);
}

bool Reducer::travels(const GradientPath& path) const {
  return !path.gradient().replicated && communicator_.ranks() > 1 && !path.parameter().sharded;
}

int64_t Reducer::place_updates(Paths bucket) {
  const DataType wire = method_.options().wire_type;
  int64_t wide = 0;
  for (GradientPath* path : bucket) {
    Gradient& g = path->gradient();
    g.update = Tensor{};
    if (!travels(*path) || g.skipped) continue;
    const bool fits = bytes_of(wire) <= bytes_of(g.accumulator.type);
    if (fits && g.accumulator.data == nullptr && !try_place(*path)) {
      finish_gather();
      try_place(*path);
    }
    const Tensor& place = g.accumulator;
    g.update = Tensor{fits ? place.data : nullptr, wire, place.rows, place.columns, place.columns};
    if (g.update.data == nullptr) wide += round_up(g.update.bytes(), kStagedAlignment);
  }
  return wide;
}

void Reducer::place_wide_updates(Paths bucket, const Workspace& memory) {
  auto* free = static_cast<char*>(memory.data());
  for (GradientPath* path : bucket) {
    Gradient& g = path->gradient();
    if (!travels(*path) || g.skipped || g.update.data != nullptr) continue;
    g.update.data = free;
    free += round_up(g.update.bytes(), kStagedAlignment);
  }
}

void Reducer::gather(Paths bucket, bool wait) {
  std::vector<ShardedRows> cut;
  for (const GradientPath* path : bucket) {
    const Gradient& g = path->gradient();
    if (travels(*path) && !g.skipped) cut.push_back({g.update, g.shard_unit, Content::kUpdate, g.turn});
  }
  const int64_t ticket = cut.empty() ? 0 : communicator_.begin_all_gather_rows(cut);
  finish_gather();
  gathering_.assign(bucket.begin(), bucket.end());
  ticket_ = ticket;
  if (cut.empty() || wait) finish_gather();
}

void Reducer::finish_gather() {
  const Bucket bucket = std::exchange(gathering_, {});
  communicator_.finish_gather(std::exchange(ticket_, 0));
  next_.gathered(bucket);
  release(bucket);
}

std::vector<Reducer::Bucket> Reducer::buckets(Paths paths, int64_t largest) {
  std::vector<Bucket> all;
  int64_t bytes = 0;
  for (GradientPath* path : paths) {
    const int64_t more = path->gradient().staged_bytes();
    if (all.empty() || bytes + more > largest) {
      all.emplace_back();
      bytes = 0;
    }
    all.back().push_back(path);
    bytes += more;
  }
  return all;
}

std::vector<Reducer::Bucket> Reducer::update_buckets(Paths paths) const {
  return buckets(paths, staging_.bytes() > 0 ? std::min(kBucketBytes, staging_.bytes() / 2) : kBucketBytes);
}

}  // namespace galleon
