// What a checkpoint's folder says of itself: its manifest, written last, with the size and checksum of every file.
// Without a valid one a checkpoint does not exist.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/checkpoint/subspace_means.h"
#include "worker/engine/optim/optimizer.h"

namespace galleon {

inline constexpr const char* kManifest = "manifest.json";

// Ids of the tokens that stood around each document of text in training; -1: nothing.
struct RecordedTokens {
  int32_t begin = -1;
  int32_t end = -1;
  bool operator==(const RecordedTokens&) const = default;
};

// What a checkpoint knows beside tensors.
struct CheckpointHeader {
  std::string job;          // the job's name
  std::string mathematics;  // RunOptions::mathematics
  // Each resume with other data (checkpoint.resume_with_changed_data): from which step, and both fingerprints.
  std::vector<std::string> data_changes;
  int64_t step = 0;
  int64_t schedule_steps = 0;
  int64_t decay_steps = 0;  // of a schedule that has them
  int64_t warmup_steps = 0;
  int64_t tokens = 0;  // seen so far
  double seconds = 0;  // of training so far
  int64_t ranks = 1;   // that wrote it
  uint64_t epoch = 0;
  uint64_t weights_hash = 0;
  std::optional<RecordedTokens> document_tokens;  // of a model that was trained on text
  std::vector<int64_t> counts;                    // Optimizer::counts
  std::vector<RefreshPace> paces;                 // Optimizer::paces
  SubspaceMeans subspaces;                        // of rank 0, which writes metrics.jsonl
};

// "step-00001000", and ".step-00001000.epoch-7" before its publication.
std::string step_folder_name(int64_t step);
std::string pending_folder_name(int64_t step, uint64_t epoch);

// "optimizer/shard-00000-of-00002.safetensors": the state that a rank wrote.
std::string shard_name(int rank, int64_t ranks);

// Steps of the checkpoints in a folder that have a manifest, oldest first. A folder that does not exist has none.
std::vector<int64_t> list_checkpoints(const std::string& folder);
// The manifest alone. NOT_FOUND: there is none; DATA_LOSS: it is damaged.
absl::StatusOr<CheckpointHeader> read_checkpoint_header(const std::string& step_folder);
// The files that a manifest names; their names have no ".." and begin with no "/".
struct CheckpointFile {
  std::string name;
  int64_t bytes = 0;
  uint32_t crc32 = 0;
};
absl::StatusOr<std::vector<CheckpointFile>> checkpoint_files(const std::string& step_folder);
// Every file of the manifest against its size, and against its checksum if `deep`. DATA_LOSS names the file.
absl::Status verify_checkpoint(const std::string& step_folder, bool deep);

// Writes and flushes the manifest. `files`: by name {"bytes", "crc32"}.
absl::Status write_manifest(const std::string& step_folder, const CheckpointHeader& header,
                            const nlohmann::json& files);

// Removes all but the newest `keep` checkpoints, and that of step `spared`, and what unfinished attempts below `epoch`
// left.
void prune_checkpoints(const std::string& folder, int64_t keep, uint64_t epoch, int64_t spared = 0);

}  // namespace galleon
