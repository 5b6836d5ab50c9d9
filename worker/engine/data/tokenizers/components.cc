#include "worker/engine/data/tokenizers/components.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon {
namespace {

using Json = nlohmann::json;

constexpr int64_t kLargestId = 1 << 24;
// What a file may ask for at most: components that follow one another, and the growth of a text by replacements.
constexpr size_t kMostComponents = 64;
constexpr double kMostGrowth = 64;

absl::Status bad(const std::string& where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", where, ": ", what));
}

// A field that a component may leave out.
template <typename T>
T field(const Json& json, const char* name, T otherwise) {
  const auto found = json.find(name);
  if (found == json.end() || found->is_null()) return otherwise;
  try {
    return found->get<T>();
  } catch (const Json::exception&) {
    return otherwise;
  }
}

std::string type_of(const Json& json) {
  return json.is_object() ? field<std::string>(json, "type", "") : "";
}

absl::Status add_normalizer(const Json& json, const std::string& where, TokenizerComponents& out) {
  const std::string type = type_of(json);
  if (type == "Sequence") {
    for (const Json& part : field(json, "normalizers", Json::array())) {
      RETURN_IF_ERROR(add_normalizer(part, where, out));
    }
  } else if (type == "NFC") {
    out.normalizers.push_back(normal_form(NormalForm::kNfc));
  } else if (type == "NFD") {
    out.normalizers.push_back(normal_form(NormalForm::kNfd));
  } else if (type == "NFKC") {
    out.normalizers.push_back(normal_form(NormalForm::kNfkc));
  } else if (type == "NFKD") {
    out.normalizers.push_back(normal_form(NormalForm::kNfkd));
  } else if (type == "Lowercase") {
    out.normalizers.push_back(lower_case_normalizer());
  } else if (type == "StripAccents") {
    out.normalizers.push_back(strip_accents());
  } else if (type == "Prepend") {
    out.normalizers.push_back(prepend_text(field<std::string>(json, "prepend", "")));
  } else if (type == "Replace" && json.contains("pattern") && json["pattern"].contains("String")) {
    const auto from = field<std::string>(json["pattern"], "String", "");
    if (from.empty()) return bad(where, "the normalizer Replace has no pattern");
    const auto to = field<std::string>(json, "content", "");
    out.growth *= std::max(1.0, static_cast<double>(to.size()) / static_cast<double>(from.size()));
    if (out.growth > kMostGrowth)
      return bad(where, absl::StrCat("its replacements make a text ", out.growth, " times longer"));
    out.normalizers.push_back(replace_text(from, to));
  } else if (type == "BertNormalizer") {
    BertNormalization options;
    options.clean_text = field(json, "clean_text", true);
    options.handle_chinese_chars = field(json, "handle_chinese_chars", true);
    options.lowercase = field(json, "lowercase", true);
    options.strip_accents = field(json, "strip_accents", options.lowercase);
    out.normalizers.push_back(bert_normalizer(options));
  } else {
    return bad(where, absl::StrCat("the normalizer \"", type,
                                   "\" is not available in this version; available: Sequence, NFC, NFD, NFKC, NFKD, "
                                   "Lowercase, StripAccents, Prepend, Replace (of a string), BertNormalizer"));
  }
  return absl::OkStatus();
}

absl::Status add_split(const Json& json, const std::string& where, TokenizerComponents& out) {
  const Json pattern = field(json, "pattern", Json::object());
  std::string expression = field<std::string>(pattern, "Regex", "");
  if (expression.empty()) {
    for (const char c : field<std::string>(pattern, "String", "")) {
      if (absl::StrContains(R"(\^$.|?*+()[]{})", c)) expression.push_back('\\');
      expression.push_back(c);
    }
  }
  const auto behavior = field<std::string>(json, "behavior", "Isolated");
  if (expression.empty() || (behavior != "Isolated" && behavior != "Removed")) {
    return bad(where,
               absl::StrCat("the pre-tokenizer Split with behavior \"", behavior,
                            "\" is not available in this version; available: a pattern with Isolated or Removed"));
  }
  absl::StatusOr<Regex> regex = Regex::compile(expression);
  if (!regex.ok()) return bad(where, regex.status().message());
  out.pre_tokenizers.push_back(split_by(*std::move(regex),
                                        behavior == "Removed" ? Separators::kRemoved : Separators::kIsolated,
                                        field(json, "invert", false)));
  return absl::OkStatus();
}

absl::Status add_metaspace(const Json& json, const std::string& where, TokenizerComponents& out) {
  const auto replacement = field<std::string>(json, "replacement", "\xE2\x96\x81");
  if (replacement.empty() || replacement.size() > 4 || absl::StrContains(replacement, ' '))
    return bad(where, "the replacement of Metaspace is not one character");
  const auto scheme =
      field<std::string>(json, "prepend_scheme", field(json, "add_prefix_space", true) ? "always" : "never");
  out.pre_tokenizers.push_back(metaspace(replacement, scheme != "never", field(json, "split", true)));
  out.metaspace = true;
  return absl::OkStatus();
}

absl::Status add_pre_tokenizer(const Json& json, const std::string& where, TokenizerComponents& out) {
  const std::string type = type_of(json);
  if (type == "Sequence") {
    for (const Json& part : field(json, "pretokenizers", Json::array())) {
      RETURN_IF_ERROR(add_pre_tokenizer(part, where, out));
    }
    return absl::OkStatus();
  }
  if (type == "Split") return add_split(json, where, out);
  if (type == "Metaspace") return add_metaspace(json, where, out);
  if (type == "ByteLevel") {
    if (field(json, "add_prefix_space", false)) out.pre_tokenizers.push_back(add_prefix_space());
    if (!field(json, "use_regex", true)) return absl::OkStatus();
    ASSIGN_OR_RETURN(Regex regex, Regex::compile(kGpt2Pattern));
    out.pre_tokenizers.push_back(split_by(std::move(regex), Separators::kIsolated, false));
  } else if (type == "Digits") {
    out.pre_tokenizers.push_back(split_digits(field(json, "individual_digits", false)));
  } else if (type == "BertPreTokenizer") {
    out.pre_tokenizers.push_back(split_words_and_punctuation());
  } else if (type == "Whitespace" || type == "WhitespaceSplit") {
    ASSIGN_OR_RETURN(Regex regex, Regex::compile(type == "Whitespace" ? R"(\w+|[^\w\s]+)" : R"(\S+)"));
    out.pre_tokenizers.push_back(split_by(std::move(regex), Separators::kRemoved, true));
  } else {
    return bad(where, absl::StrCat("the pre-tokenizer \"", type,
                                   "\" is not available in this version; available: Sequence, Split, Metaspace, "
                                   "ByteLevel, Digits, BertPreTokenizer, Whitespace, WhitespaceSplit"));
  }
  return absl::OkStatus();
}

// Whether a component of this type is anywhere in a (nested) list of them.
bool has_component(const Json& json, const char* type) {
  if (!json.is_object()) return false;
  if (type_of(json) == type) return true;
  for (const char* list : {"pretokenizers", "decoders", "normalizers"}) {
    const auto parts = json.find(list);
    if (parts == json.end() || !parts->is_array()) continue;
    for (const Json& part : *parts) {
      if (has_component(part, type)) return true;
    }
  }
  return false;
}

absl::StatusOr<Vocabulary> read_vocabulary(const Json& json, const std::string& where) {
  if (!json.is_object() || json.empty()) return bad(where, "there is no vocabulary");
  Vocabulary vocabulary;
  vocabulary.reserve(json.size());
  for (const auto& [symbol, id] : json.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > kLargestId)
      return bad(where, absl::StrCat("the id of \"", symbol, "\" is not a number of a token"));
    vocabulary[symbol] = id.get<int32_t>();
  }
  return vocabulary;
}

using Merges = std::vector<std::pair<std::string, std::string>>;

absl::StatusOr<Merges> read_merges(const Json& json, const std::string& where) {
  Merges merges;
  if (!json.is_array()) return bad(where, "model.merges is not a list");
  for (const Json& merge : json) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == text.size())
      return bad(where, absl::StrCat("merge ", merges.size() + 1, " is not two symbols"));
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

absl::Status read_bpe(const Json& json, const Json& model, const std::string& where, TokenizerComponents& out) {
  if (!field<std::string>(model, "continuing_subword_prefix", "").empty() ||
      !field<std::string>(model, "end_of_word_suffix", "").empty())
    return bad(where, "BPE with prefixes or suffixes of symbols is not available in this version");
  ASSIGN_OR_RETURN(Merges merges, read_merges(model.value("merges", Json()), where));
  BytePairOptions options;
  options.byte_level = has_component(json.value("pre_tokenizer", Json()), "ByteLevel") ||
                       has_component(json.value("decoder", Json()), "ByteLevel");
  options.byte_fallback = field(model, "byte_fallback", false);
  options.ignore_merges = field(model, "ignore_merges", false);
  options.fuse_unknown = field(model, "fuse_unk", false);
  const auto unknown = out.vocabulary.find(field<std::string>(model, "unk_token", ""));
  if (unknown != out.vocabulary.end()) options.unknown = unknown->second;
  absl::StatusOr<BytePair> encoder = BytePair::create(out.vocabulary, merges, options);
  if (!encoder.ok()) return bad(where, encoder.status().message());
  out.metaspace |= !options.byte_level;
  out.model.emplace<BytePair>(*std::move(encoder));
  return absl::OkStatus();
}

absl::Status read_word_piece(const Json& model, const std::string& where, TokenizerComponents& out) {
  WordPieceOptions options;
  const auto unknown = out.vocabulary.find(field<std::string>(model, "unk_token", "[UNK]"));
  if (unknown == out.vocabulary.end()) return bad(where, "WordPiece has no unknown token");
  options.unknown = unknown->second;
  options.continuation = field<std::string>(model, "continuing_subword_prefix", "##");
  options.longest_word = field<int64_t>(model, "max_input_chars_per_word", 100);
  out.model.emplace<WordPiece>(out.vocabulary, options);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerComponents> components_from_json(const Json& json, const std::string& where) {
  TokenizerComponents out;
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object())
    return bad(where, "is not a tokenizer.json: it has no model");
  if (const auto normalizer = json.find("normalizer"); normalizer != json.end() && !normalizer->is_null()) {
    RETURN_IF_ERROR(add_normalizer(*normalizer, where, out));
  }
  if (const auto cut = json.find("pre_tokenizer"); cut != json.end() && !cut->is_null()) {
    RETURN_IF_ERROR(add_pre_tokenizer(*cut, where, out));
  }
  if (out.normalizers.size() + out.pre_tokenizers.size() > kMostComponents)
    return bad(where, absl::StrCat("it has more than ", kMostComponents, " normalizers and pre-tokenizers"));
  const Json& model = json["model"];
  std::string type = type_of(model);
  if (type.empty()) type = model.contains("merges") ? "BPE" : "WordPiece";  // files of older versions do not say
  if (type != "BPE" && type != "WordPiece") {
    return bad(where, absl::StrCat("the model \"", type,
                                   "\" is not available in this version; available: BPE, WordPiece, or a SentencePiece "
                                   ".model file"));
  }
  ASSIGN_OR_RETURN(out.vocabulary, read_vocabulary(model.value("vocab", Json()), where));
  RETURN_IF_ERROR(type == "BPE" ? read_bpe(json, model, where, out) : read_word_piece(model, where, out));
  for (const Json& token : json.value("added_tokens", Json::array())) {
    if (!token.is_object()) continue;
    AddedToken added;
    added.content = field<std::string>(token, "content", "");
    const auto id = field<int64_t>(token, "id", -1);
    added.id = id <= kLargestId ? static_cast<int32_t>(id) : -1;
    added.special = field(token, "special", false);
    added.strips_left = field(token, "lstrip", false);
    added.strips_right = field(token, "rstrip", false);
    if (added.content.empty() || added.id < 0) return bad(where, "an added token has no content or no id");
    out.added.push_back(std::move(added));
  }
  return out;
}

absl::StatusOr<TokenizerComponents> components_from_bpe_files(const std::string& folder) {
  const std::string where = folder + "/vocab.json";
  ASSIGN_OR_RETURN(std::string text, read_file(where));
  ASSIGN_OR_RETURN(Vocabulary vocabulary, read_vocabulary(Json::parse(text, nullptr, false), where));
  ASSIGN_OR_RETURN(std::string lines, read_file(folder + "/merges.txt"));
  Json merges = Json::array();
  bool first = true;
  for (absl::string_view line : absl::StrSplit(lines, '\n')) {
    const bool header = first && absl::StartsWith(line, "#version");
    first = false;
    absl::ConsumeSuffix(&line, "\r");
    if (!header && !line.empty()) merges.push_back(std::string(line));
  }
  TokenizerComponents out;
  out.vocabulary = std::move(vocabulary);
  const Json level = {{"type", "ByteLevel"}};
  RETURN_IF_ERROR(add_pre_tokenizer(level, where, out));
  const Json model = {{"merges", std::move(merges)}, {"unk_token", "<unk>"}};
  RETURN_IF_ERROR(read_bpe({{"pre_tokenizer", level}}, model, folder + "/merges.txt", out));
  for (const char* special : {"<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>"}) {
    const auto found = out.vocabulary.find(special);
    if (found == out.vocabulary.end()) continue;
    out.added.push_back({special, found->second, true, std::string(special) == "<mask>", false});
  }
  return out;
}

absl::StatusOr<TokenizerComponents> components_from_word_piece_file(const std::string& folder, bool lowercase) {
  const std::string where = folder + "/vocab.txt";
  ASSIGN_OR_RETURN(std::string text, read_file(where));
  TokenizerComponents out;
  int32_t id = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::ConsumeSuffix(&line, "\r");
    if (!line.empty()) out.vocabulary[std::string(line)] = id;
    ++id;
  }
  BertNormalization normalization;
  normalization.lowercase = normalization.strip_accents = lowercase;
  out.normalizers.push_back(bert_normalizer(normalization));
  out.pre_tokenizers.push_back(split_words_and_punctuation());
  RETURN_IF_ERROR(read_word_piece(Json::object(), where, out));
  for (const char* special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    const auto found = out.vocabulary.find(special);
    if (found != out.vocabulary.end()) out.added.push_back({special, found->second, true, false, false});
  }
  return out;
}

}  // namespace galleon
