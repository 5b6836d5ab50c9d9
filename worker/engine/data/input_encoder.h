// What becomes of a piece of input: tokens of a row, and with formats whose sequences are not cut from one row, where
// each sequence lies in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/input_pieces.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/data/tsv.h"
#include "worker/engine/ground/options.h"

namespace galleon {

// One sequence of a row of tokens, as it is stored.
struct SequenceRecord {
  uint64_t begin = 0;    // its first token
  uint32_t length = 0;   // in tokens
  uint32_t second = 0;   // where the second text of a pair begins within it; `length`: there is none
  uint32_t targets = 0;  // that its loss counts
  uint32_t file = 0;     // its number among the files
  float label = 0;       // of classification
  uint32_t reserved = 0;
};
static_assert(sizeof(SequenceRecord) == 32);

// A stored token of a format with a mask (conversations) has this bit if the loss counts it as a target.
constexpr uint32_t kCountedBit = 0x80000000U;

// Inputs that were left out for a reason that the task allows, or the user should know.
struct LeftOut {
  int64_t count = 0;
  std::string first;   // file and line
  std::string reason;  // "has no target within data.sequence_length"
};

struct EncodedPiece {
  std::vector<uint32_t> tokens;
  std::vector<SequenceRecord> sequences;  // `begin` counts within `tokens`
  int64_t documents = 0;
  LeftOut left_out;
  BadRows bad_rows;
  int64_t cut = 0;  // documents or rows that data.sequence_length has cut
};

class InputEncoder {
 public:
  virtual ~InputEncoder() = default;
  // Thread-safe. INVALID_ARGUMENT: file, line and what is wrong.
  virtual absl::StatusOr<EncodedPiece> encode(const InputPiece& piece, const std::string& path) const = 0;
  // Whether `sequences` say what a sequence is; otherwise they are windows of the row.
  virtual bool has_sequences() const { return false; }
  // Whether tokens carry kCountedBit.
  virtual bool has_mask() const { return false; }
};

// Documents one behind the other, each with `around` at its ends. Token files hold ids below `vocabulary`. `tokenizer`
// may be null for token files.
std::unique_ptr<InputEncoder> make_packed_encoder(const DataOptions& options, const Tokenizer* tokenizer,
                                                  DocumentTokens around, int64_t vocabulary);
// Each document a sequence of its own with `around` at its ends, cut to data.sequence_length inputs and as many
// targets. One without text, or of a single token, is left out.
std::unique_ptr<InputEncoder> make_document_encoder(const DataOptions& options, const Tokenizer& tokenizer,
                                                    DocumentTokens around);

// Rows of TSV files for an encoder that classifies, cut to data.sequence_length.
absl::StatusOr<std::unique_ptr<InputEncoder>> make_classify_encoder(const DataOptions& options, const LabelSet& labels,
                                                                    const Tokenizer& tokenizer);

// Conversations, one a line of JSON, each a sequence cut to data.sequence_length, of which the answers count.
absl::StatusOr<std::unique_ptr<InputEncoder>> make_chat_encoder(const DataOptions& options,
                                                                const std::string& chat_template,
                                                                const Tokenizer& tokenizer);

}  // namespace galleon
