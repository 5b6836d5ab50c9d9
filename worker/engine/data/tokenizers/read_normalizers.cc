#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/component_fields.h"
#include "worker/engine/data/tokenizers/components.h"

namespace galleon {
namespace {

using Json = nlohmann::json;

constexpr double kMostGrowth = 256;  // of a text, by all replacements together

absl::Status grow(ComponentFields& fields, double factor, TokenizerComponents& out) {
  out.growth *= std::max(1.0, factor);
  if (out.growth <= kMostGrowth) return absl::OkStatus();
  return fields.error(absl::StrCat("makes a text ", out.growth, " times longer, with those before it; at most ",
                                   kMostGrowth, " is accepted"));
}

absl::Status add_replace(ComponentFields& fields, TokenizerComponents& out) {
  const Json& pattern = fields.value("pattern");
  const std::string to = fields.text("content", "");
  RETURN_IF_ERROR(fields.done());
  if (!pattern.is_object() || pattern.size() != 1 || !pattern.begin()->is_string() ||
      pattern.begin()->get_ref<const std::string&>().empty())
    return fields.error("has no pattern; {\"String\": …} and {\"Regex\": …} are accepted");
  const auto from = pattern.begin()->get<std::string>();
  if (pattern.contains("String")) {
    RETURN_IF_ERROR(grow(fields, static_cast<double>(to.size()) / static_cast<double>(from.size()), out));
    out.normalizers.push_back(replace_text(from, to));
    return absl::OkStatus();
  }
  if (!pattern.contains("Regex")) return fields.error("has a pattern that is neither String nor Regex");
  absl::StatusOr<Regex> regex = Regex::compile(from);
  if (!regex.ok()) return fields.error(absl::StrCat("is not available: ", regex.status().message()));
  RETURN_IF_ERROR(grow(fields, static_cast<double>(to.size()), out));
  out.normalizers.push_back(replace_pattern(*std::move(regex), to));
  return absl::OkStatus();
}

absl::Status add_table(ComponentFields& fields, TokenizerComponents& out) {
  const std::string text = fields.text("precompiled_charsmap", "");
  RETURN_IF_ERROR(fields.done());
  std::string table;
  if (!absl::Base64Unescape(text, &table)) return fields.error("has a table that is not base64");
  if (table.empty()) return fields.error("has no precompiled_charsmap");
  double factor = 1;
  absl::StatusOr<std::unique_ptr<Normalizer>> normalizer = table_normalizer(std::move(table), factor);
  if (!normalizer.ok()) return fields.error(normalizer.status().message());
  RETURN_IF_ERROR(grow(fields, factor, out));
  out.normalizers.push_back(*std::move(normalizer));
  return absl::OkStatus();
}

absl::Status add_bert(ComponentFields& fields, TokenizerComponents& out) {
  BertNormalization options;
  options.clean_text = fields.flag("clean_text", true);
  options.handle_chinese_chars = fields.flag("handle_chinese_chars", true);
  options.lowercase = fields.flag("lowercase", true);
  options.strip_accents = fields.flag("strip_accents", options.lowercase);
  RETURN_IF_ERROR(fields.done());
  out.bert = options;
  out.normalizers.push_back(bert_normalizer(options));
  return absl::OkStatus();
}

// Those that have no fields. Null: another type.
std::unique_ptr<Normalizer> plain_normalizer(const std::string& type) {
  if (type == "NFC") return normal_form(NormalForm::kNfc);
  if (type == "NFD") return normal_form(NormalForm::kNfd);
  if (type == "NFKC") return normal_form(NormalForm::kNfkc);
  if (type == "NFKD") return normal_form(NormalForm::kNfkd);
  if (type == "Lowercase") return lower_case_normalizer();
  if (type == "StripAccents") return strip_accents();
  if (type == "Nmt") return nmt_normalizer();
  return nullptr;
}

}  // namespace

absl::Status add_normalizers(const Json& json, const std::string& where, TokenizerComponents& out) {
  ComponentFields fields(json, "the normalizer", where);
  const std::string& type = fields.type();
  if (type == "Sequence") {
    const Json& parts = fields.value("normalizers");
    RETURN_IF_ERROR(fields.done());
    if (!parts.is_array()) return fields.error("has no list \"normalizers\"");
    for (const Json& part : parts) RETURN_IF_ERROR(add_normalizers(part, where, out));
    return absl::OkStatus();
  }
  if (type == "Replace") return add_replace(fields, out);
  if (type == "Precompiled") return add_table(fields, out);
  if (type == "BertNormalizer") return add_bert(fields, out);
  if (type == "Strip") {
    const bool left = fields.flag("strip_left", true);
    const bool right = fields.flag("strip_right", true);
    out.normalizers.push_back(strip_ends(left, right));
  } else if (type == "Prepend") {
    out.normalizers.push_back(prepend_text(fields.text("prepend", "")));
  } else if (std::unique_ptr<Normalizer> plain = plain_normalizer(type); plain != nullptr) {
    out.normalizers.push_back(std::move(plain));
  } else {
    return fields.error(
        "is not available in this version; available: Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, "
        "Prepend, Replace, Nmt, Precompiled, BertNormalizer");
  }
  return fields.done();
}

}  // namespace galleon
