// What travels of gradients and updates, in buckets: a bucket of gradients is reduced while the backward computes the
// next ones, a bucket of updates is gathered while the next is computed. Owns the buckets, what is in flight, and the
// staging memory that gradients take in turns.
//
//   add → flush → (reduce-scatter in flight) → finish_reduce → reduced()
//   gather → (all-gather in flight) → finish_gather → gathered()
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/types/span.h"
#include "kernels/device.h"
#include "worker/engine/optim/gradient_path.h"
#include "worker/engine/optim/method.h"
#include "worker/engine/optim/staging_memory.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

class Reducer {
 public:
  using Bucket = std::vector<GradientPath*>;
  using Paths = absl::Span<GradientPath* const>;
  // What follows.
  struct Next {
    // Own rows hold the sums over ranks of this pass.
    std::function<void(Paths)> reduced;
    // Updates are whole; their memory is given back afterwards.
    std::function<void(Paths)> gathered;
  };

  // Allocates accumulators of `paths`, the staging memory and what a reduction needs while it is in flight.
  Reducer(const Method& method, Device& device, Communicator& communicator, Paths paths,
          const std::vector<Parameter>& parameters, Arena& arena, Next next);

  // Gives a staged gradient its place; where the memory is full, what has waited longest leaves it first.
  void place(GradientPath& path);
  void release(Paths paths);

  // The gradient of this pass is complete.
  void add(GradientPath& path);
  // The bucket that is being filled leaves, while the backward goes on if what arrives of it has room.
  void flush();
  void finish_reduce();
  // Reduces now what was never added.
  void reduce(Paths paths);

  // Updates lie where the gradients are, in the type of the wire, as their owner too applies what the others receive.
  // Those that have no room there, because that type is the wider one, need so many bytes, which place_wide_updates()
  // gives them until they are gathered.
  int64_t place_updates(Paths bucket);
  void place_wide_updates(Paths bucket, const Workspace& memory);
  // Whether other ranks need this rank's rows of the update.
  bool travels(const GradientPath& path) const;
  // Sends updates on their way, and finishes those before. `wait`: these too.
  void gather(Paths bucket, bool wait);
  void finish_gather();

  // Cut where the next gradient would make a bucket too large for one exchange.
  static std::vector<Bucket> buckets(Paths paths, int64_t largest = kBucketBytes);
  // Of updates: two have room in the staging memory, where there is one, one that is made and one that travels.
  std::vector<Bucket> update_buckets(Paths paths) const;

 private:
  void allocate_accumulators(Paths paths, const std::vector<Parameter>& parameters, Arena& arena);
  void allocate_staging(Paths paths, Arena& arena);
  void allocate_flight(Paths paths, Arena& arena);
  bool try_place(GradientPath& path);
  static std::vector<ShardedRows> sharded(Paths paths);
  void take_reduced(Paths paths);

  const Method& method_;
  Device& device_;
  Communicator& communicator_;
  Next next_;
  StagingMemory staging_;
  int64_t bucket_bytes_ = 0;  // of gradients
  Bucket filling_;            // complete, not reduced yet
  int64_t filling_bytes_ = 0;
  Bucket reducing_;       // in flight
  Tensor flight_memory_;  // for what arrives of it
  Bucket gathering_;      // updates in flight
  int64_t ticket_ = 0;    // of their exchange
};

}  // namespace galleon
