// Writes checkpoints while training goes on. Numbers are handed to the operating system at once, which takes about as
// long as a copy of them and needs no memory of ours; what takes long, waiting until they are on the disk, a thread
// does. A checkpoint is published when that is true on every rank.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/files.h"
#include "worker/engine/checkpoint/checkpoint.h"

namespace galleon {

class CheckpointWriter {
 public:
  // Neither is owned. `folder`: of all checkpoints of the job.
  CheckpointWriter(std::string folder, Communicator& communicator)
      : folder_(std::move(folder)), communicator_(communicator) {}
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // A collective: each rank hands over the state that it owns, rank 0 the rest; weight hashes are compared, a
  // difference is INTERNAL. All ranks get the same verdict, and what is left of a failed attempt is removed. Weights
  // and state may change as soon as it returns. None may be under way.
  absl::Status begin(const CheckpointHeader& header, const CheckpointContent& content);
  // Whether one has begun and is not published yet, and its step.
  bool under_way() const { return header_.has_value(); }
  int64_t step() const { return header_->step; }
  // Whether this rank's part is on the disk, or has failed to get there. False while there is nothing to flush.
  bool flushed() const { return under_way() && flushed_; }
  // A collective: waits until all parts are on the disk, then rank 0 writes the manifest, asks the gate and publishes.
  // All ranks get the same verdict.
  absl::Status publish(const PublicationGate& gate);

 private:
  void flush();

  const std::string folder_;
  Communicator& communicator_;
  std::optional<CheckpointHeader> header_;
  std::string pending_;
  std::string files_;  // of the manifest, as JSON
  std::vector<std::pair<std::string, FileDescriptor>> unflushed_;
  std::thread thread_;
  std::atomic<bool> flushed_{false};
  absl::Status flush_status_;  // once flushed_
};

}  // namespace galleon
