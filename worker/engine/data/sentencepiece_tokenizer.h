// Text to the ids of a SentencePiece model: the library, behind a memory of words that it has seen.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {

// `folder`: whose tokenizer_config.json and added_tokens.json are read as well; empty: the model alone.
// INVALID_ARGUMENT: no model, one without an end piece, or files that contradict it. UNAVAILABLE: the library is not
// there.
absl::StatusOr<std::unique_ptr<Tokenizer>> open_sentencepiece_tokenizer(const std::string& path,
                                                                        const std::string& folder = "");

}  // namespace galleon
