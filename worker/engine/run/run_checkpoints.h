// The checkpoints of a run: written beside training, published when every rank's part is on the disk, copied to an
// object store, pruned.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/checkpoint/checkpoint_copies.h"
#include "worker/engine/checkpoint/checkpoint_writer.h"
#include "worker/engine/run/run_observer.h"

namespace galleon {

class RunCheckpoints {
 public:
  // None is owned. epoch: of this attempt, in the names of unpublished checkpoints.
  RunCheckpoints(const RunOptions& options, uint64_t epoch, Communicator& communicator, RunObserver& observer)
      : options_(options),
        epoch_(epoch),
        communicator_(communicator),
        observer_(observer),
        writer_(options_.checkpoint_folder, communicator) {}

  // The run goes on behind `step` (0: begins). A collective: the error of the store for copies.
  absl::Status start(int64_t step);

  // All of these are collectives. save: none may be under way; publish: one is.
  absl::Status save(const CheckpointHeader& header, const CheckpointContent& content);
  absl::Status publish();
  // The newest checkpoint's copy is a part of the run.
  absl::Status finish_copies();

  bool under_way() const { return writer_.under_way(); }
  // Whether this rank's part of the one under way is on the disk.
  bool flushed() const { return writer_.flushed(); }
  // Of the newest that was published, else the one that the run went on from; 0: none.
  int64_t last_saved() const { return last_saved_; }
  // What copies have to say since the last call. Whether they had.
  bool tell_of_copies();
  // Another error, which names the step that is kept.
  absl::Status saved_before(const absl::Status& why) const;

 private:
  absl::Status not_saved(int64_t step, const absl::Status& why) const;

  const RunOptions& options_;
  uint64_t epoch_;
  Communicator& communicator_;
  RunObserver& observer_;
  CheckpointWriter writer_;
  std::unique_ptr<CheckpointCopier> copier_;  // on rank 0, where copies are asked for
  int64_t last_saved_ = 0;
};

}  // namespace galleon
