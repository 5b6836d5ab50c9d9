// Whether a SentencePiece model can be given to the library, which trusts what it reads: it follows offsets of the
// file without looking, descends once for each byte of a piece, and ends the process where it finds a contradiction.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace galleon {

// The wire format, pieces, scores, and the tables by which text is normalized. INVALID_ARGUMENT names the file and what
// is damaged.
absl::Status check_sentencepiece(absl::string_view model, const std::string& path);

// Does `trial` in a child of this process first, so that what it crashes, exhausts or never ends is not this one.
// INVALID_ARGUMENT names the file.
absl::Status try_apart(const std::function<void()>& trial, const std::string& path);

}  // namespace galleon
