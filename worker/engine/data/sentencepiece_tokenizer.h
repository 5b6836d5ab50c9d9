// Text to the ids of a SentencePiece model: the library, behind a memory of words that it has seen.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {

// INVALID_ARGUMENT: no model, or one without an end piece. UNAVAILABLE: the library is not there.
absl::StatusOr<std::unique_ptr<Tokenizer>> open_sentencepiece_tokenizer(const std::string& path);

}  // namespace galleon
