// Token files as they lie on the disk, seen as one row.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/sequence_store.h"

namespace galleon {

// Windows of `sequence_length` inputs over the ids of `paths` (little-endian, 16 bits, or 32 where the vocabulary is
// larger than 65,536), which are mapped and never loaded. INVALID_ARGUMENT: a file that is no whole number of ids; an
// id outside the vocabulary, with its file and place: at once while all files together have less than
// `checked_bytes`, else when it is read.
absl::StatusOr<std::unique_ptr<SequenceStore>> map_token_files(const std::vector<std::string>& paths,
                                                               int64_t vocabulary, int64_t sequence_length,
                                                               int64_t checked_bytes = int64_t{1} << 30);

// For an error about ids of 32 bits: the file may have been made for a smaller vocabulary. Empty for 16 bits.
const char* hint_of_other_width(int64_t vocabulary);

}  // namespace galleon
