// Of a tokenizer.json: added tokens, what is put around a text, and how tokens become text again.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/component_fields.h"
#include "worker/engine/data/tokenizers/components.h"

namespace galleon {
namespace {

using Json = nlohmann::json;

// [token, id], as BertProcessing writes it.
absl::StatusOr<int32_t> token_pair(ComponentFields& fields, const char* name) {
  const Json& pair = fields.value(name);
  if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_integer() || pair[1].get<int64_t>() < 0 ||
      pair[1].get<int64_t>() > kLargestTokenId)
    return fields.error(absl::StrCat("has no token \"", name, "\" with its id"));
  return pair[1].get<int32_t>();
}

absl::StatusOr<int32_t> id_of_template(const ComponentFields& fields, const Json& tokens, const Json& name) {
  const auto found = name.is_string() ? tokens.find(name.get<std::string>()) : tokens.end();
  const Json ids = found != tokens.end() && found->is_object() ? found->value("ids", Json()) : Json();
  if (!ids.is_array() || ids.size() != 1 || !ids[0].is_number_integer() || ids[0].get<int64_t>() < 0 ||
      ids[0].get<int64_t>() > kLargestTokenId)
    return fields.error(absl::StrCat("has the special token ", name.dump(), " without one id"));
  return ids[0].get<int32_t>();
}

absl::Status read_template(ComponentFields& fields, TokenizerComponents& out) {
  const Json& single = fields.value("single");
  const Json& tokens = fields.value("special_tokens");
  fields.without_effect("pair");  // pairs of texts have their layout by the model
  RETURN_IF_ERROR(fields.done());
  if (!single.is_array()) return fields.error("has no list \"single\"");
  bool text_seen = false;
  for (const Json& part : single) {
    if (part.is_object() && part.contains("Sequence") && !text_seen) {
      text_seen = true;
      continue;
    }
    const bool special = part.is_object() && part.contains("SpecialToken") && part["SpecialToken"].is_object();
    int32_t& place = text_seen ? out.behind_text : out.before_text;
    if (!special || place >= 0)
      return fields.error(
          "has more around a text than one token before it and one behind it, which is not available in this version");
    ASSIGN_OR_RETURN(place, id_of_template(fields, tokens.is_object() ? tokens : Json::object(),
                                           part["SpecialToken"].value("id", Json())));
  }
  return absl::OkStatus();
}

absl::Status add_replacement(ComponentFields& fields, TokenizerComponents& out) {
  const Json& pattern = fields.value("pattern");
  const std::string to = fields.text("content", "");
  RETURN_IF_ERROR(fields.done());
  const auto from = pattern.is_object() ? pattern.find("String") : pattern.end();
  if (!pattern.is_object() || from == pattern.end() || !from->is_string() ||
      from->get_ref<const std::string&>().empty())
    return fields.error("is available in this version with a pattern {\"String\": …} alone");
  out.decoders.push_back({DecodeStep::Kind::kReplace, from->get<std::string>(), to});
  return absl::OkStatus();
}

absl::Status add_word_pieces(ComponentFields& fields, TokenizerComponents& out) {
  const std::string prefix = fields.text("prefix", "##");
  const bool clean = fields.flag("cleanup", true);
  RETURN_IF_ERROR(fields.done());
  out.decoders.push_back({DecodeStep::Kind::kWordPiece, prefix});
  if (!clean) return absl::OkStatus();
  for (const auto& [from, to] :
       {std::pair(" .", "."), std::pair(" ?", "?"), std::pair(" !", "!"), std::pair(" ,", ","), std::pair(" ' ", "'"),
        std::pair(" n't", "n't"), std::pair(" 'm", "'m"), std::pair(" do not", " don't"), std::pair(" 's", "'s"),
        std::pair(" 've", "'ve"), std::pair(" 're", "'re")})
    out.decoders.push_back({DecodeStep::Kind::kReplace, from, to});
  return absl::OkStatus();
}

absl::Status add_space_marks(ComponentFields& fields, TokenizerComponents& out) {
  const std::string replacement = fields.text("replacement", "\xE2\x96\x81");
  const bool prefix = fields.flag("add_prefix_space", true);
  const std::string scheme = fields.text("prepend_scheme", prefix ? "always" : "never");
  fields.without_effect("split");  // of texts
  fields.without_effect("str_rep");
  RETURN_IF_ERROR(fields.done());
  if (replacement.empty()) return fields.error("has no replacement");
  out.decoders.push_back({DecodeStep::Kind::kMetaspace, replacement, "", scheme == "never" ? 0 : 1});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AddedToken> read_added_token(const Json& json, int64_t id, const std::string& where) {
  ComponentFields fields(json, "an added token", where);
  AddedToken token;
  token.content = fields.text("content", "");
  const int64_t written = fields.number("id", id);
  token.special = fields.flag("special", false);
  token.normalized = fields.flag("normalized", !token.special);
  token.strips_left = fields.flag("lstrip", false);
  token.strips_right = fields.flag("rstrip", false);
  token.single_word = fields.flag("single_word", false);
  fields.without_effect("__type");
  RETURN_IF_ERROR(fields.done());
  if (token.content.empty() || written < 0 || written > kLargestTokenId) return fields.error("has no content or no id");
  token.id = static_cast<int32_t>(written);
  return token;
}

absl::Status join_added_token(AddedToken token, const std::string& where, TokenizerComponents& out) {
  const auto differs = [&](int32_t id) {
    return tokenizer_error(where, absl::StrCat("the added token \"", token.content, "\" has the id ", token.id,
                                               ", and elsewhere in the tokenizer's files the id ", id));
  };
  for (const AddedToken& known : out.added) {
    if (known.content == token.content) return known.id == token.id ? absl::OkStatus() : differs(known.id);
    if (known.id == token.id)
      return tokenizer_error(where, absl::StrCat("the added tokens \"", token.content, "\" and \"", known.content,
                                                 "\" have the same id ", token.id));
  }
  const auto found = out.vocabulary.find(token.content);
  if (found != out.vocabulary.end() && found->second != token.id) return differs(found->second);
  out.added.push_back(std::move(token));
  return absl::OkStatus();
}

absl::Status read_added_tokens(const Json& json, const std::string& where, TokenizerComponents& out) {
  if (!json.is_array()) return tokenizer_error(where, "added_tokens is not a list");
  for (const Json& one : json) {
    ASSIGN_OR_RETURN(AddedToken token, read_added_token(one, -1, where));
    RETURN_IF_ERROR(join_added_token(std::move(token), where, out));
  }
  return absl::OkStatus();
}

absl::Status read_post_processor(const Json& json, const std::string& where, TokenizerComponents& out) {
  ComponentFields fields(json, "the post-processor", where);
  const std::string& type = fields.type();
  if (type == "Sequence") {
    const Json& parts = fields.value("processors");
    RETURN_IF_ERROR(fields.done());
    if (!parts.is_array()) return fields.error("has no list \"processors\"");
    for (const Json& part : parts) RETURN_IF_ERROR(read_post_processor(part, where, out));
    return absl::OkStatus();
  }
  if (type == "TemplateProcessing") return read_template(fields, out);
  for (const char* name : {"add_prefix_space", "trim_offsets", "use_regex"}) fields.without_effect(name);  // of places
  if (type == "ByteLevel") return fields.done();
  if (type != "BertProcessing" && type != "RobertaProcessing")
    return fields.error(
        "is not available in this version; available: Sequence, TemplateProcessing, ByteLevel, BertProcessing, "
        "RobertaProcessing");
  ASSIGN_OR_RETURN(out.before_text, token_pair(fields, "cls"));
  ASSIGN_OR_RETURN(out.behind_text, token_pair(fields, "sep"));
  return fields.done();
}

absl::Status add_decoders(const Json& json, const std::string& where, TokenizerComponents& out) {
  ComponentFields fields(json, "the decoder", where);
  const std::string& type = fields.type();
  if (type == "Sequence") {
    const Json& parts = fields.value("decoders");
    RETURN_IF_ERROR(fields.done());
    if (!parts.is_array()) return fields.error("has no list \"decoders\"");
    for (const Json& part : parts) RETURN_IF_ERROR(add_decoders(part, where, out));
    return absl::OkStatus();
  }
  if (type == "Replace") return add_replacement(fields, out);
  if (type == "WordPiece") return add_word_pieces(fields, out);
  if (type == "Metaspace") return add_space_marks(fields, out);
  if (type == "ByteLevel") {
    for (const char* name : {"add_prefix_space", "trim_offsets", "use_regex"}) fields.without_effect(name);
    out.decoders.push_back({DecodeStep::Kind::kByteLevel});
  } else if (type == "ByteFallback") {
    out.decoders.push_back({DecodeStep::Kind::kByteFallback});
  } else if (type == "Fuse") {
    out.decoders.push_back({DecodeStep::Kind::kFuse});
  } else if (type == "Strip") {
    const std::string content = fields.text("content", " ");
    const int64_t first = fields.number("start", 0);
    out.decoders.push_back({DecodeStep::Kind::kStrip, content, "", first, fields.number("stop", 0)});
    if (content.empty()) return fields.error("has no content");
  } else if (type == "BPEDecoder") {
    out.decoders.push_back({DecodeStep::Kind::kSuffix, fields.text("suffix", "</w>")});
  } else {
    return fields.error(
        "is not available in this version; available: Sequence, ByteLevel, Metaspace, ByteFallback, Fuse, Strip, "
        "Replace, WordPiece, BPEDecoder");
  }
  return fields.done();
}

}  // namespace galleon
