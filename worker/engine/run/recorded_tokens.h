// The tokens around a document that a checkpoint was trained with, as its manifest records them.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {

// Makes what the checkpoint in `folder` was trained with the default of its tokenizer. Anything else than a checkpoint,
// and one that records nothing, leaves the tokenizer's own settings. The manifest's errors; DATA_LOSS: it records a
// token that the tokenizer does not have.
absl::Status use_recorded_tokens(const std::string& folder, Tokenizer& tokenizer);

}  // namespace galleon
