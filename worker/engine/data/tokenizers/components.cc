#include "worker/engine/data/tokenizers/components.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/files.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/component_fields.h"

namespace galleon {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostComponents = 64;  // that follow one another

// A file without decoders is of a usual kind.
std::vector<DecodeStep> usual_decoders(const TokenizerComponents& parts) {
  using Kind = DecodeStep::Kind;
  if (parts.byte_level) return {{Kind::kByteLevel}};
  if (std::holds_alternative<WordPiece>(parts.model)) return {{Kind::kWordPiece, "##"}};
  if (std::holds_alternative<WordLevel>(parts.model)) return {{Kind::kWordPiece, "\xE2\x96\x81"}};
  return {{Kind::kReplace, "\xE2\x96\x81", " "}, {Kind::kByteFallback}, {Kind::kFuse}, {Kind::kStrip, " ", "", 1, 0}};
}

absl::StatusOr<Json> read_merge_lines(const std::string& path) {
  ASSIGN_OR_RETURN(std::string lines, read_to_parse(path));
  Json merges = Json::array();
  bool first = true;
  for (absl::string_view line : absl::StrSplit(lines, '\n')) {
    const bool header = first && absl::StartsWith(line, "#version");
    first = false;
    absl::ConsumeSuffix(&line, "\r");
    if (!header && !line.empty()) merges.push_back(std::string(line));
  }
  return merges;
}

void add_known_specials(std::initializer_list<const char*> names, TokenizerComponents& out) {
  for (const char* name : names) {
    const auto found = out.vocabulary.find(name);
    if (found == out.vocabulary.end()) continue;
    AddedToken token;
    token.content = name;
    token.id = found->second;
    token.special = true;
    token.strips_left = token.content == "<mask>";
    out.added.push_back(std::move(token));
  }
}

}  // namespace

absl::StatusOr<TokenizerComponents> components_from_json(const Json& json, const std::string& where) {
  TokenizerComponents out;
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object())
    return tokenizer_error(where, "is not a tokenizer.json: it has no model");
  ComponentFields fields(json, "the file", where);
  fields.only("version", "1.0");
  // How long the sequences of a call are; data.sequence_length says it here.
  fields.without_effect("truncation");
  fields.without_effect("padding");
  if (const Json& normalizer = fields.value("normalizer"); !normalizer.is_null())
    RETURN_IF_ERROR(add_normalizers(normalizer, where, out));
  if (const Json& cut = fields.value("pre_tokenizer"); !cut.is_null())
    RETURN_IF_ERROR(add_pre_tokenizers(cut, where, out));
  if (out.normalizers.size() + out.pre_tokenizers.size() > kMostComponents) {
    return tokenizer_error(where,
                           absl::StrCat("it has more than ", kMostComponents, " normalizers and pre-tokenizers"));
  }
  RETURN_IF_ERROR(read_model(fields.value("model"), where, out));
  if (const Json& tokens = fields.value("added_tokens"); !tokens.is_null())
    RETURN_IF_ERROR(read_added_tokens(tokens, where, out));
  if (const Json& around = fields.value("post_processor"); !around.is_null())
    RETURN_IF_ERROR(read_post_processor(around, where, out));
  if (const Json& decoder = fields.value("decoder"); !decoder.is_null())
    RETURN_IF_ERROR(add_decoders(decoder, where, out));
  RETURN_IF_ERROR(fields.done());
  if (out.decoders.empty()) out.decoders = usual_decoders(out);
  if (out.decoders.size() > kMostComponents)
    return tokenizer_error(where, absl::StrCat("it has more than ", kMostComponents, " decoders"));
  return out;
}

absl::StatusOr<TokenizerComponents> components_from_bpe_files(const std::string& folder, bool prefix_space) {
  const std::string where = folder + "/vocab.json";
  ASSIGN_OR_RETURN(std::string text, read_to_parse(where));
  ASSIGN_OR_RETURN(Json merges, read_merge_lines(folder + "/merges.txt"));
  TokenizerComponents out;
  RETURN_IF_ERROR(add_pre_tokenizers({{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}}, where, out));
  Json vocabulary = Json::parse(text, nullptr, false);
  RETURN_IF_ERROR(read_vocabulary(vocabulary, where).status());
  const Json model = {{"type", "BPE"}, {"vocab", std::move(vocabulary)}, {"merges", std::move(merges)}};
  RETURN_IF_ERROR(read_model(model, folder + "/merges.txt", out));
  add_known_specials({"<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>"}, out);
  out.decoders = usual_decoders(out);
  return out;
}

absl::StatusOr<TokenizerComponents> components_from_word_piece_file(const std::string& folder,
                                                                    const BertNormalization& normalization) {
  const std::string where = folder + "/vocab.txt";
  ASSIGN_OR_RETURN(std::string text, read_to_parse(where));
  TokenizerComponents out;
  Json vocabulary = Json::object();
  int32_t id = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::ConsumeSuffix(&line, "\r");
    if (!line.empty()) vocabulary[std::string(line)] = id;
    ++id;
  }
  out.bert = normalization;
  out.normalizers.push_back(bert_normalizer(normalization));
  out.pre_tokenizers.push_back(split_words_and_punctuation());
  RETURN_IF_ERROR(read_model({{"type", "WordPiece"}, {"vocab", std::move(vocabulary)}}, where, out));
  add_known_specials({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}, out);
  out.decoders = usual_decoders(out);
  return out;
}

}  // namespace galleon
