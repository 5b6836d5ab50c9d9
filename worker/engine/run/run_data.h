// The data of a run: what training and validation read, made by rank 0 and read by all.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/training_set.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/ranks/communicator.h"
#include "worker/engine/run/resolved_job.h"
#include "worker/engine/run/run_observer.h"

namespace galleon {

class RunData {
 public:
  // `folder`: where tokens are kept, shared by all ranks; `shared`: instead, if it has a folder.
  RunData(const RunOptions& options, const ResolvedJob& job, std::string folder, SharedCaches shared,
          Communicator& communicator, RunObserver& observer)
      : options_(options),
        job_(job),
        folder_(std::move(folder)),
        shared_(std::move(shared)),
        communicator_(communicator),
        observer_(observer),
        train_(options.data) {}

  // A collective: opens all of it and waits until training can begin.
  absl::Status load();

  // Training steps, where the job asks for epochs: waits for all of the data.
  absl::StatusOr<int64_t> count_steps();
  // How many sequences so many steps have gone through, those that data.last_batch has left out among them. nullopt:
  // it depends on data that has not come yet.
  std::optional<int64_t> sequences_of(int64_t steps);
  // Of a mixture, how often a run of so many steps passes through each source: told once, when all of them are known.
  // Returns whether it was told now.
  bool tell_passes(int64_t steps);

  const TrainingSet& train() const { return train_; }
  Corpus* validation() const { return validation_.get(); }  // nullptr: the job has none
  // What has ended the training data.
  absl::Status error() { return train_.error(); }
  // Skipped, of all data.
  int64_t bad_rows();

 private:
  absl::Status open(const TrainingPart& part, int made_together, std::unique_ptr<Corpus>& corpus);

  const RunOptions& options_;
  const ResolvedJob& job_;
  const std::string folder_;
  const SharedCaches shared_;
  Communicator& communicator_;
  RunObserver& observer_;
  TrainingSet train_;
  std::unique_ptr<Corpus> validation_;
  bool passes_told_ = false;
};

}  // namespace galleon
