#include "worker/trainer/text_stream.h"

#include "absl/strings/match.h"

namespace galleon {

namespace {

constexpr size_t kMostWaiting = 8;  // tokens; a character has at most 4 bytes, each of them a token at worst

// Whether a text ends within a character, or with what a decoder puts in the place of a part of one.
bool ends_within_character(const std::string& text) {
  if (absl::EndsWith(text, "\xEF\xBF\xBD")) return true;
  size_t tail = 0;
  while (tail < text.size() && tail < 4 && (static_cast<unsigned char>(text[text.size() - 1 - tail]) & 0xC0U) == 0x80U)
    ++tail;
  if (tail == text.size()) return tail > 0;
  const auto lead = static_cast<unsigned char>(text[text.size() - 1 - tail]);
  const size_t wanted = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
  return tail < wanted;
}

}  // namespace

std::string TextStream::add(const std::vector<int32_t>& ids) {
  recent_.insert(recent_.end(), ids.begin(), ids.end());
  return take(true);
}

std::string TextStream::finish() {
  return take(false);
}

std::string TextStream::take(bool whole_characters) {
  const std::string before = tokenizer_.decode({recent_.begin(), recent_.begin() + static_cast<int64_t>(told_)});
  const std::string text = tokenizer_.decode(recent_);
  const bool wait = whole_characters && recent_.size() - told_ < kMostWaiting && ends_within_character(text);
  if (wait || text.size() <= before.size()) return "";
  recent_.erase(recent_.begin(), recent_.begin() + static_cast<int64_t>(told_));
  told_ = recent_.size();
  return text.substr(before.size());
}

}  // namespace galleon
