#include "worker/engine/data/tokenizers/text_decoder.h"

#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "worker/engine/data/tokenizers/byte_pair.h"

namespace galleon {
namespace {

std::string bytes_of_fallback(const std::string& token) {
  unsigned int byte = 0;
  const bool is_byte = token.size() == 6 && std::sscanf(token.c_str(), "<0x%02X>", &byte) == 1;
  return is_byte ? std::string(1, static_cast<char>(byte)) : token;
}

std::string stripped(absl::string_view token, const DecodeStep& step) {
  for (int64_t i = 0; i < step.first && absl::ConsumePrefix(&token, step.from); ++i) {
  }
  for (int64_t i = 0; i < step.last && absl::ConsumeSuffix(&token, step.from); ++i) {
  }
  return std::string(token);
}

std::string of_metaspace(const std::string& token, const DecodeStep& step, bool begins_text) {
  absl::string_view rest = token;
  if (begins_text && step.first != 0) absl::ConsumePrefix(&rest, step.from);
  return absl::StrReplaceAll(rest, {{step.from, " "}});
}

std::string of_word_piece(const std::string& token, const DecodeStep& step, bool begins_text) {
  absl::string_view rest = token;
  if (begins_text) return token;
  return absl::ConsumePrefix(&rest, step.from) ? std::string(rest) : absl::StrCat(" ", rest);
}

std::string of_suffix(const std::string& token, const DecodeStep& step, bool ends_text) {
  absl::string_view rest = token;
  return absl::ConsumeSuffix(&rest, step.from) ? absl::StrCat(rest, ends_text ? "" : " ") : token;
}

// A token after one step; `first` and `last`: whether it begins or ends the text.
std::string after(const WrittenToken& token, const DecodeStep& step, bool first, bool last) {
  switch (step.kind) {
    case DecodeStep::Kind::kByteLevel:
      return token.added ? token.text : bytes_of_alphabet(token.text);
    case DecodeStep::Kind::kByteFallback:
      return bytes_of_fallback(token.text);
    case DecodeStep::Kind::kReplace:
      return absl::StrReplaceAll(token.text, {{step.from, step.to}});
    case DecodeStep::Kind::kStrip:
      return stripped(token.text, step);
    case DecodeStep::Kind::kWordPiece:
      return of_word_piece(token.text, step, first);
    case DecodeStep::Kind::kMetaspace:
      return of_metaspace(token.text, step, first);
    case DecodeStep::Kind::kSuffix:
      return of_suffix(token.text, step, last);
    case DecodeStep::Kind::kFuse:
      break;
  }
  return token.text;
}

}  // namespace

std::string decoded(std::vector<WrittenToken> tokens, const std::vector<DecodeStep>& steps) {
  const auto joined = [&] {
    std::string text;
    for (const WrittenToken& token : tokens) text += token.text;
    return text;
  };
  for (const DecodeStep& step : steps) {
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i].text = after(tokens[i], step, i == 0, i + 1 == tokens.size());
    if (step.kind == DecodeStep::Kind::kFuse || step.kind == DecodeStep::Kind::kByteLevel) tokens = {{joined(), false}};
  }
  return joined();
}

}  // namespace galleon
