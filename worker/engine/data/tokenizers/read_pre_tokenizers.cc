#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/component_fields.h"
#include "worker/engine/data/tokenizers/components.h"

namespace galleon {
namespace {

using Json = nlohmann::json;

std::optional<Separators> separators_of(const std::string& behavior) {
  if (behavior == "Isolated") return Separators::kIsolated;
  if (behavior == "Removed") return Separators::kRemoved;
  if (behavior == "MergedWithPrevious") return Separators::kWithPrevious;
  if (behavior == "MergedWithNext") return Separators::kWithNext;
  if (behavior == "Contiguous") return Separators::kContiguous;
  return std::nullopt;
}

absl::Status unknown_behavior(const ComponentFields& fields, const std::string& behavior) {
  return fields.error(absl::StrCat("has the behavior \"", behavior,
                                   "\"; accepted: Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous"));
}

std::string quoted_for_regex(const std::string& text) {
  std::string expression;
  for (const char c : text) {
    if (absl::StrContains(R"(\^$.|?*+()[]{})", c)) expression.push_back('\\');
    expression.push_back(c);
  }
  return expression;
}

absl::Status add_split(ComponentFields& fields, TokenizerComponents& out) {
  const Json& pattern = fields.value("pattern");
  const std::string behavior = fields.text("behavior", "");
  const bool invert = fields.flag("invert", false);
  RETURN_IF_ERROR(fields.done());
  const bool known = pattern.is_object() && pattern.size() == 1 && pattern.begin()->is_string() &&
                     (pattern.contains("Regex") || pattern.contains("String"));
  if (!known || pattern.begin()->get_ref<const std::string&>().empty())
    return fields.error("has no pattern; {\"String\": …} and {\"Regex\": …} are accepted");
  const std::optional<Separators> separators = separators_of(behavior);
  if (!separators.has_value()) return unknown_behavior(fields, behavior);
  const auto text = pattern.begin()->get<std::string>();
  absl::StatusOr<Regex> regex = Regex::compile(pattern.contains("Regex") ? text : quoted_for_regex(text));
  if (!regex.ok()) return fields.error(absl::StrCat("is not available: ", regex.status().message()));
  out.pre_tokenizers.push_back(split_by(*std::move(regex), *separators, invert));
  return absl::OkStatus();
}

absl::Status add_metaspace(ComponentFields& fields, TokenizerComponents& out) {
  const std::string replacement = fields.text("replacement", "\xE2\x96\x81");
  fields.without_effect("str_rep");  // the replacement again
  const bool prefix = fields.flag("add_prefix_space", true);
  const std::string scheme = fields.text("prepend_scheme", prefix ? "always" : "never");
  const bool split = fields.flag("split", true);
  RETURN_IF_ERROR(fields.done());
  size_t end = 0;
  if (!replacement.empty()) next_code_point(replacement, end);
  if (end == 0 || end != replacement.size() || replacement == " ")
    return fields.error("has a replacement that is not one character");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    return fields.error(absl::StrCat("has the prepend_scheme \"", scheme, "\"; accepted: always, first, never"));
  if (!prefix && scheme != "never")
    return fields.error(absl::StrCat("has add_prefix_space: false, and prepend_scheme: ", scheme));
  const Prepend prepend = scheme == "always" ? Prepend::kAlways : scheme == "first" ? Prepend::kFirst : Prepend::kNever;
  out.pre_tokenizers.push_back(metaspace(replacement, prepend, split));
  return absl::OkStatus();
}

absl::Status add_byte_level(ComponentFields& fields, TokenizerComponents& out) {
  out.adds_prefix_space = fields.flag("add_prefix_space", false);
  const bool cuts = fields.flag("use_regex", true);
  fields.without_effect("trim_offsets");  // of places in the text
  RETURN_IF_ERROR(fields.done());
  out.byte_level = true;
  if (*out.adds_prefix_space) out.pre_tokenizers.push_back(add_prefix_space());
  if (!cuts) return absl::OkStatus();
  ASSIGN_OR_RETURN(Regex regex, Regex::compile(kGpt2Pattern));
  out.pre_tokenizers.push_back(split_by(std::move(regex), Separators::kIsolated, false));
  return absl::OkStatus();
}

absl::Status add_by_character(ComponentFields& fields, TokenizerComponents& out) {
  const std::string delimiter = fields.text("delimiter", "");
  RETURN_IF_ERROR(fields.done());
  size_t end = 0;
  const int32_t character = delimiter.empty() ? 0 : next_code_point(delimiter, end);
  if (end == 0 || end != delimiter.size()) return fields.error("has a delimiter that is not one character");
  out.pre_tokenizers.push_back(split_by(character, Separators::kRemoved));
  return absl::OkStatus();
}

}  // namespace

absl::Status add_pre_tokenizers(const Json& json, const std::string& where, TokenizerComponents& out) {
  ComponentFields fields(json, "the pre-tokenizer", where);
  const std::string& type = fields.type();
  if (type == "Sequence") {
    const Json& parts = fields.value("pretokenizers");
    RETURN_IF_ERROR(fields.done());
    if (!parts.is_array()) return fields.error("has no list \"pretokenizers\"");
    for (const Json& part : parts) RETURN_IF_ERROR(add_pre_tokenizers(part, where, out));
    return absl::OkStatus();
  }
  if (out.byte_level) return fields.error("stands behind ByteLevel, which is available as the last one");
  if (type == "Split") return add_split(fields, out);
  if (type == "Metaspace") return add_metaspace(fields, out);
  if (type == "ByteLevel") return add_byte_level(fields, out);
  if (type == "CharDelimiterSplit") return add_by_character(fields, out);
  if (type == "Digits") {
    const bool each = fields.flag("individual_digits", false);
    out.pre_tokenizers.push_back(split_by(is_number, each ? Separators::kIsolated : Separators::kContiguous));
  } else if (type == "Punctuation") {
    const std::string behavior = fields.text("behavior", "Isolated");
    const std::optional<Separators> separators = separators_of(behavior);
    if (!separators.has_value()) return unknown_behavior(fields, behavior);
    out.pre_tokenizers.push_back(split_by(is_punctuation, *separators));
  } else if (type == "BertPreTokenizer") {
    out.pre_tokenizers.push_back(split_words_and_punctuation());
  } else if (type == "Whitespace") {
    out.pre_tokenizers.push_back(split_words_and_marks());
  } else if (type == "WhitespaceSplit") {
    out.pre_tokenizers.push_back(split_by(is_white_space, Separators::kRemoved));
  } else {
    return fields.error(
        "is not available in this version; available: Sequence, Split, Metaspace, ByteLevel, Digits, Punctuation, "
        "BertPreTokenizer, Whitespace, WhitespaceSplit, CharDelimiterSplit");
  }
  return fields.done();
}

}  // namespace galleon
