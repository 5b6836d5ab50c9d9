#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/component_fields.h"
#include "worker/engine/data/tokenizers/components.h"

namespace galleon {
namespace {

using Json = nlohmann::json;
using Merges = std::vector<std::pair<std::string, std::string>>;

absl::StatusOr<Merges> read_merges(const Json& json, const std::string& where) {
  Merges merges;
  if (!json.is_array()) return tokenizer_error(where, "model.merges is not a list");
  for (const Json& merge : json) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == text.size())
      return tokenizer_error(where, absl::StrCat("merge ", merges.size() + 1, " is not two symbols"));
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

// The id of the unknown token. `needed`: the model does nothing without one.
absl::StatusOr<int32_t> read_unknown(ComponentFields& fields, const char* otherwise, bool needed,
                                     const Vocabulary& vocabulary) {
  const std::string token = fields.text("unk_token", otherwise);
  const auto found = vocabulary.find(token);
  if (found != vocabulary.end()) return found->second;
  if (needed) return fields.error(absl::StrCat("has no unknown token: \"", token, "\" is not in its vocabulary"));
  return -1;
}

absl::Status read_bpe(ComponentFields& fields, const std::string& where, TokenizerComponents& out) {
  ASSIGN_OR_RETURN(out.vocabulary, read_vocabulary(fields.value("vocab"), where));
  ASSIGN_OR_RETURN(const Merges merges, read_merges(fields.value("merges"), where));
  BytePairOptions options;
  options.byte_level = out.byte_level;
  options.byte_fallback = fields.flag("byte_fallback", false);
  options.ignore_merges = fields.flag("ignore_merges", false);
  options.fuse_unknown = fields.flag("fuse_unk", false);
  options.continuation = fields.text("continuing_subword_prefix", "");
  options.ending = fields.text("end_of_word_suffix", "");
  fields.only("dropout", 0);
  const bool can_be_unknown = !out.byte_level && !fields.text("unk_token", "").empty();
  ASSIGN_OR_RETURN(options.unknown, read_unknown(fields, "", can_be_unknown, out.vocabulary));
  RETURN_IF_ERROR(fields.done());
  absl::StatusOr<BytePair> encoder = BytePair::create(out.vocabulary, merges, options);
  if (!encoder.ok()) return tokenizer_error(where, encoder.status().message());
  out.model.emplace<BytePair>(*std::move(encoder));
  return absl::OkStatus();
}

absl::Status read_word_piece(ComponentFields& fields, const std::string& where, TokenizerComponents& out) {
  ASSIGN_OR_RETURN(out.vocabulary, read_vocabulary(fields.value("vocab"), where));
  WordPieceOptions options;
  ASSIGN_OR_RETURN(options.unknown, read_unknown(fields, "[UNK]", true, out.vocabulary));
  options.continuation = fields.text("continuing_subword_prefix", "##");
  options.longest_word = fields.number("max_input_chars_per_word", 100);
  RETURN_IF_ERROR(fields.done());
  out.model.emplace<WordPiece>(out.vocabulary, options);
  return absl::OkStatus();
}

absl::Status read_word_level(ComponentFields& fields, const std::string& where, TokenizerComponents& out) {
  ASSIGN_OR_RETURN(out.vocabulary, read_vocabulary(fields.value("vocab"), where));
  ASSIGN_OR_RETURN(const int32_t unknown, read_unknown(fields, "<unk>", true, out.vocabulary));
  RETURN_IF_ERROR(fields.done());
  out.model.emplace<WordLevel>(out.vocabulary, unknown);
  return absl::OkStatus();
}

absl::Status read_unigram(ComponentFields& fields, const std::string& where, TokenizerComponents& out) {
  const Json& list = fields.value("vocab");
  const int64_t unknown = fields.number("unk_id", -1);
  const bool bytes = fields.flag("byte_fallback", false);
  RETURN_IF_ERROR(fields.done());
  if (!list.is_array() || list.empty()) return tokenizer_error(where, "there is no vocabulary");
  std::vector<std::pair<std::string, double>> pieces;
  for (const Json& piece : list) {
    if (!piece.is_array() || piece.size() != 2 || !piece[0].is_string() || !piece[1].is_number())
      return tokenizer_error(where, absl::StrCat("piece ", pieces.size(), " is not a text with a number"));
    out.vocabulary[piece[0].get<std::string>()] = static_cast<int32_t>(pieces.size());
    pieces.emplace_back(piece[0].get<std::string>(), piece[1].get<double>());
  }
  if (unknown < -1 || unknown > kLargestTokenId) return fields.error("has no sound unk_id");
  absl::StatusOr<Unigram> model = Unigram::create(std::move(pieces), static_cast<int32_t>(unknown), bytes);
  if (!model.ok()) return tokenizer_error(where, model.status().message());
  out.model.emplace<Unigram>(*std::move(model));
  return absl::OkStatus();
}

// Files of older versions do not say what they hold.
std::string type_of_model(const Json& json) {
  if (json.contains("merges")) return "BPE";
  if (json.contains("vocab") && json["vocab"].is_array()) return "Unigram";
  return json.contains("continuing_subword_prefix") ? "WordPiece" : "WordLevel";
}

}  // namespace

absl::StatusOr<Vocabulary> read_vocabulary(const Json& json, const std::string& where) {
  if (!json.is_object() || json.empty()) return tokenizer_error(where, "there is no vocabulary");
  Vocabulary vocabulary;
  vocabulary.reserve(json.size());
  for (const auto& [symbol, id] : json.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > kLargestTokenId)
      return tokenizer_error(where, absl::StrCat("the id of \"", symbol, "\" is not a number of a token"));
    vocabulary[symbol] = id.get<int32_t>();
  }
  return vocabulary;
}

absl::Status read_model(const Json& json, const std::string& where, TokenizerComponents& out) {
  ComponentFields fields(json, "the model", where);
  const std::string type = fields.type().empty() ? type_of_model(json) : fields.type();
  if (type != "BPE" && out.byte_level) return fields.error("behind ByteLevel is not available in this version; BPE is");
  if (type == "BPE") return read_bpe(fields, where, out);
  if (type == "WordPiece") return read_word_piece(fields, where, out);
  if (type == "Unigram") return read_unigram(fields, where, out);
  if (type == "WordLevel") return read_word_level(fields, where, out);
  return fields.error("is not available in this version; available: BPE, WordPiece, Unigram, WordLevel");
}

}  // namespace galleon
