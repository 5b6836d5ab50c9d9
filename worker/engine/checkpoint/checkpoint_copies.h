// Copies of checkpoints in an object store (checkpoint.copy_to): ADDRESS/step-00001000/FILE, as in the folder that they
// are copied from. The manifest is written last there too: without one a copy does not exist.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace galleon {

// Where the copy of a step lies below an address.
std::string copy_address(const std::string& address, int64_t step);

// Steps of the complete copies below an address, oldest first. Errors of the store.
absl::StatusOr<std::vector<int64_t>> list_copies(const std::string& address);

// Whether objects can be written and removed below the address: PERMISSION_DENIED, UNAVAILABLE and others name it.
absl::Status check_copies_can_be_written(const std::string& address);

// Writes the files of a published checkpoint to `address`/step-…, those that an earlier attempt has written left out;
// afterwards compares sizes and samples of what lies there, writes the manifest, and removes all but the newest `keep`
// copies. `wanted` is asked on the way; false ends it with CANCELLED. Returns the bytes that were written.
absl::StatusOr<int64_t> copy_checkpoint(const std::string& folder, int64_t step, const std::string& address,
                                        int64_t keep, const std::function<bool()>& wanted);

// Brings a copy into `into`, a folder that it makes, and verifies it by its checksums: DATA_LOSS names the file.
// `address` is that of one step. Files that are there with the right size are kept.
absl::Status fetch_checkpoint(const std::string& address, const std::string& into);

// Copies beside training, one after the other, by a thread of its own.
class CheckpointCopier {
 public:
  // `folder`: of the job's checkpoints. That of `step` is copied first, if it lies there and not at the address: an
  // attempt before may have ended too soon. Errors of check_copies_can_be_written and list_copies.
  static absl::StatusOr<std::unique_ptr<CheckpointCopier>> start(const std::string& folder, const std::string& address,
                                                                 int64_t keep, int64_t step);
  // Ends a copy that is under way; what it has written is found again by the next one.
  ~CheckpointCopier();
  CheckpointCopier(const CheckpointCopier&) = delete;
  CheckpointCopier& operator=(const CheckpointCopier&) = delete;

  // Copies this step next. One that still waits is left out for it.
  void add(int64_t step);
  // The step that is being copied, which must not be removed meanwhile; 0: none.
  int64_t copying() const;
  // Waits for what was added. The newest step's status.
  absl::Status finish();
  // What has happened since the last call, in words.
  std::vector<std::string> notes();

 private:
  CheckpointCopier(std::string folder, std::string address, int64_t keep);
  void run();

  const std::string folder_;
  const std::string address_;
  const int64_t keep_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<int64_t> next_;
  int64_t copying_ = 0;
  int64_t newest_ = 0;  // that was added
  bool ended_ = false;
  absl::Status status_;
  std::vector<std::string> notes_;
  std::thread thread_;
};

}  // namespace galleon
