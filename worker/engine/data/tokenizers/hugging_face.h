// Tokenizers in Hugging Face's files: tokenizer.json, or a folder with vocab.json + merges.txt (byte-level BPE) or
// vocab.txt (WordPiece). Ids are those of the package `tokenizers`; a component that this version does not have is
// refused by name.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {

// `source`: a tokenizer.json, or a folder that holds one, or the older files. NOT_FOUND, INVALID_ARGUMENT: the file,
// the component and what is accepted.
absl::StatusOr<std::unique_ptr<Tokenizer>> open_hugging_face_tokenizer(const std::string& source);

}  // namespace galleon
