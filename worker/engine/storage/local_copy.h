// Folders of object stores that have to lie on this machine: tokenizers and models. A copy is kept for later runs as
// long as what lies in the store does not change.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace galleon {

// $GALLEON_CACHE, or galleon in $XDG_CACHE_HOME, or ~/.cache/galleon.
std::string cache_folder();

enum class CopiedWeights {
  kNone,     // no *.safetensors
  kHeaders,  // their headers alone, in files of the right size: enough to tell names and shapes
  kAll,
};

// The folder of this machine that has what lies right in the folder `address`: *.json, *.txt, *.model, *.jinja,
// *.tiktoken, *.jsonl and, as `weights` says, *.safetensors; or, if an object has that very address, its file.
// Processes that ask for the same one at once copy it once. Copies that nobody has asked for in 30 days are removed.
// NOT_FOUND: there is nothing; other errors of object_store.h and of writing.
absl::StatusOr<std::string> local_copy(const std::string& address, CopiedWeights weights);

// The same of an address; a path of this machine stays as it is. Errors have `key` before them.
absl::StatusOr<std::string> on_this_machine(const std::string& place, CopiedWeights weights, const std::string& key);

}  // namespace galleon
