// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int64_t vocabulary() const = 0;
  // Ends a document; joins documents when they are packed.
  virtual int32_t end_token() const = 0;
  virtual int32_t begin_token() const = 0;  // -1: none
  // Ids of the text alone, without begin or end. Appends to `ids`.
  virtual void encode(absl::string_view text, std::vector<int32_t>& ids) const = 0;
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  // The files that a checkpoint carries along; empty for raw bytes.
  virtual std::vector<std::string> files() const = 0;
};

// "bytes" (ids 0–255 and an end token 256), or a SentencePiece model. NOT_FOUND, INVALID_ARGUMENT with the path.
absl::StatusOr<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& source);

}  // namespace galleon
