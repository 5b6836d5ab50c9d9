#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/input_encoder.h"
#include "worker/engine/data/json_lines.h"
#include "worker/engine/data/mapped_tokens.h"

namespace galleon {

namespace {

absl::Status text_of_line(const nlohmann::ordered_json& json, const std::string& path, int64_t number,
                          const std::string& field, const std::string*& text) {
  const auto found = json.find(field);
  if (found == json.end() || !found->is_string()) {
    std::string why = " is missing; there are: ";
    if (found != json.end()) {
      why = absl::StrCat(" is ", found->is_null() ? "" : "no text but of type ", found->type_name());
    } else {
      for (const auto& [name, value] : json.items()) absl::StrAppend(&why, why.back() == ' ' ? "" : ", ", name);
    }
    return absl::InvalidArgumentError(
        absl::StrCat(line_name(path, number), ": no text field \"", field, "\" (data.text_field): it", why));
  }
  text = &found->get_ref<const std::string&>();
  return absl::OkStatus();
}

void add_token(int32_t token, std::vector<uint32_t>& tokens) {
  if (token >= 0) tokens.push_back(static_cast<uint32_t>(token));
}

// Ids of a tokenizer, which are never negative, behind those that are there.
class IdBuffer {
 public:
  void append(const Tokenizer& tokenizer, absl::string_view before, absl::string_view text,
              std::vector<uint32_t>& tokens) {
    ids_.clear();
    tokenizer.encode_behind(before, text, ids_);
    tokens.insert(tokens.end(), ids_.begin(), ids_.end());
  }

 private:
  std::vector<int32_t> ids_;
};

class PackedEncoder final : public InputEncoder {
 public:
  PackedEncoder(const DataOptions& options, const Tokenizer* tokenizer, DocumentTokens around, int64_t vocabulary)
      : text_field_(options.text_field), tokenizer_(tokenizer), around_(around), vocabulary_(vocabulary) {}

  absl::StatusOr<EncodedPiece> encode(const InputPiece& piece, const std::string& path) const override {
    EncodedPiece out;
    IdBuffer ids;
    absl::Status status;
    if (piece.format == InputFormat::kTokens) {
      status = read_ids(piece, path, out);
    } else if (tokenizer_ == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is text, and no tokenizer is given"));
    } else if (piece.format != InputFormat::kText) {
      status = for_each_json_line(piece, path, &out.bad_rows, [&](const nlohmann::ordered_json& json, int64_t number) {
        const std::string* text = nullptr;
        RETURN_IF_ERROR(text_of_line(json, path, number, text_field_, text));
        add_token(around_.begin, out.tokens);
        ids.append(*tokenizer_, "", *text, out.tokens);
        end_document(out);
        return absl::OkStatus();
      });
    } else {
      if (piece.begins_file && !piece.text.empty()) add_token(around_.begin, out.tokens);
      ids.append(*tokenizer_, piece.before, piece.text, out.tokens);
      if (piece.ends_document && !(piece.begins_file && piece.text.empty())) end_document(out);
    }
    if (!status.ok()) return status;
    return out;
  }

 private:
  void end_document(EncodedPiece& out) const {
    add_token(around_.end, out.tokens);
    ++out.documents;
  }

  absl::Status read_ids(const InputPiece& piece, const std::string& path, EncodedPiece& out) const {
    const size_t width = vocabulary_ > 65536 ? 4 : 2;
    if (piece.text.size() % width != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": ", piece.first_byte + static_cast<int64_t>(piece.text.size()), " bytes is not a whole number of ",
          width * 8, "-bit ids, which a vocabulary of ", vocabulary_, " has", hint_of_other_width(vocabulary_)));
    }
    out.tokens.resize(piece.text.size() / width);
    for (size_t i = 0; i < out.tokens.size(); ++i) {
      uint32_t id = 0;
      for (size_t b = 0; b < width; ++b)
        id |= static_cast<uint32_t>(static_cast<unsigned char>(piece.text[i * width + b])) << (8 * b);
      if (id >= vocabulary_) {
        const int64_t place = piece.first_byte / static_cast<int64_t>(width) + static_cast<int64_t>(i);
        return absl::InvalidArgumentError(absl::StrCat(path, ": id ", id, " at position ", place,
                                                       " does not fit the vocabulary of ", vocabulary_,
                                                       place < 16 ? hint_of_other_width(vocabulary_) : ""));
      }
      out.tokens[i] = id;
    }
    out.documents += out.tokens.empty() ? 0 : 1;
    return absl::OkStatus();
  }

  std::string text_field_;
  const Tokenizer* tokenizer_;
  DocumentTokens around_;
  int64_t vocabulary_;
};

class DocumentEncoder final : public InputEncoder {
 public:
  DocumentEncoder(const DataOptions& options, const Tokenizer& tokenizer, DocumentTokens around)
      : text_field_(options.text_field),
        longest_(options.sequence_length + 1),
        tokenizer_(tokenizer),
        around_(around) {}

  bool has_sequences() const override { return true; }

  absl::StatusOr<EncodedPiece> encode(const InputPiece& piece, const std::string& path) const override {
    EncodedPiece out;
    IdBuffer ids;
    const auto add = [&](absl::string_view text, int64_t line) {
      const size_t begin = out.tokens.size();
      add_token(around_.begin, out.tokens);
      const size_t before = out.tokens.size();
      ids.append(tokenizer_, "", text, out.tokens);
      const bool empty = out.tokens.size() == before;
      add_token(around_.end, out.tokens);
      if (out.tokens.size() > begin + static_cast<size_t>(longest_)) ++out.cut;
      out.tokens.resize(std::min(out.tokens.size(), begin + static_cast<size_t>(longest_)));
      ++out.documents;
      const auto length = static_cast<uint32_t>(out.tokens.size() - begin);
      if (empty || length < 2) {
        out.tokens.resize(begin);
        if (out.left_out.count++ == 0) out.left_out.first = line_name(path, line);
        out.left_out.reason = "holds no text";
        return;
      }
      out.sequences.push_back({begin, length, length, length - 1, static_cast<uint32_t>(piece.file), 0, 0});
    };
    if (piece.format == InputFormat::kText) {
      if (!piece.text.empty()) add(piece.text, 1);
      return out;
    }
    RETURN_IF_ERROR(
        for_each_json_line(piece, path, &out.bad_rows, [&](const nlohmann::ordered_json& json, int64_t number) {
          const std::string* text = nullptr;
          RETURN_IF_ERROR(text_of_line(json, path, number, text_field_, text));
          add(*text, number);
          return absl::OkStatus();
        }));
    return out;
  }

 private:
  std::string text_field_;
  int64_t longest_;
  const Tokenizer& tokenizer_;
  DocumentTokens around_;
};

}  // namespace

std::unique_ptr<InputEncoder> make_packed_encoder(const DataOptions& options, const Tokenizer* tokenizer,
                                                  DocumentTokens around, int64_t vocabulary) {
  return std::make_unique<PackedEncoder>(options, tokenizer, around, vocabulary);
}

std::unique_ptr<InputEncoder> make_document_encoder(const DataOptions& options, const Tokenizer& tokenizer,
                                                    DocumentTokens around) {
  return std::make_unique<DocumentEncoder>(options, tokenizer, around);
}

}  // namespace galleon
