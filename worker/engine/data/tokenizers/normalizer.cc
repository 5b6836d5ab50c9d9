#include "worker/engine/data/tokenizers/normalizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace galleon {
namespace {

class NormalFormStep final : public Normalizer {
 public:
  explicit NormalFormStep(NormalForm form) : form_(form) {}
  std::string apply(absl::string_view text) const override { return normalized(text, form_); }

 private:
  NormalForm form_;
};

class LowerCase final : public Normalizer {
 public:
  std::string apply(absl::string_view text) const override { return lower_case(text); }
};

// A text without the characters for which `drop` is true.
template <typename Drop>
std::string without(absl::string_view text, Drop drop) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const int32_t c = next_code_point(text, at);
    if (!drop(c)) append_code_point(c, out);
  }
  return out;
}

class StripAccents final : public Normalizer {
 public:
  std::string apply(absl::string_view text) const override { return without(text, is_combining_mark); }
};

class StripEnds final : public Normalizer {
 public:
  StripEnds(bool left, bool right) : left_(left), right_(right) {}
  std::string apply(absl::string_view text) const override {
    if (left_) text.remove_prefix(white_space_at_start(text));
    if (right_) text.remove_suffix(white_space_at_end(text));
    return std::string(text);
  }

 private:
  bool left_;
  bool right_;
};

class Replace final : public Normalizer {
 public:
  Replace(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  std::string apply(absl::string_view text) const override { return absl::StrReplaceAll(text, {{from_, to_}}); }

 private:
  std::string from_;
  std::string to_;
};

class ReplacePattern final : public Normalizer {
 public:
  ReplacePattern(Regex pattern, std::string to) : pattern_(std::move(pattern)), to_(std::move(to)) {}
  std::string apply(absl::string_view text) const override {
    Regex::Matcher matcher(pattern_);
    std::string out;
    size_t done = 0;
    size_t begin = 0;
    size_t end = 0;
    while (done < text.size() && matcher.find(text, done, begin, end)) {
      absl::StrAppend(&out, text.substr(done, begin - done), to_);
      done = end;
    }
    absl::StrAppend(&out, text.substr(done));
    return out;
  }

 private:
  Regex pattern_;
  std::string to_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string apply(absl::string_view text) const override {
    return text.empty() ? std::string() : absl::StrCat(prefix_, text);
  }

 private:
  std::string prefix_;
};

class Nmt final : public Normalizer {
 public:
  std::string apply(absl::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const int32_t c = next_code_point(text, at);
      if (is_dropped(c)) continue;
      append_code_point(is_space(c) ? ' ' : c, out);
    }
    return out;
  }

 private:
  static bool is_dropped(int32_t c) {
    return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
  }
  static bool is_space(int32_t c) {
    return c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
           c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  }
};

class BertNormalizer final : public Normalizer {
 public:
  explicit BertNormalizer(const BertNormalization& options) : options_(options) {}
  std::string apply(absl::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const int32_t c = next_code_point(text, at);
      if (options_.clean_text && (c == 0 || c == 0xFFFD || is_control(c))) continue;
      if (options_.clean_text && is_white_space(c)) {
        out.push_back(' ');
      } else if (options_.handle_chinese_chars && is_chinese(c)) {
        out.push_back(' ');
        append_code_point(c, out);
        out.push_back(' ');
      } else {
        append_code_point(c, out);
      }
    }
    if (options_.strip_accents) out = without(normalized(out, NormalForm::kNfd), is_nonspacing_mark);
    if (options_.lowercase) out = lower_case(out);
    return out;
  }

 private:
  BertNormalization options_;
};

}  // namespace

std::unique_ptr<Normalizer> normal_form(NormalForm form) {
  return std::make_unique<NormalFormStep>(form);
}
std::unique_ptr<Normalizer> lower_case_normalizer() {
  return std::make_unique<LowerCase>();
}
std::unique_ptr<Normalizer> strip_accents() {
  return std::make_unique<StripAccents>();
}
std::unique_ptr<Normalizer> strip_ends(bool left, bool right) {
  return std::make_unique<StripEnds>(left, right);
}
std::unique_ptr<Normalizer> replace_text(std::string from, std::string to) {
  return std::make_unique<Replace>(std::move(from), std::move(to));
}
std::unique_ptr<Normalizer> replace_pattern(Regex pattern, std::string to) {
  return std::make_unique<ReplacePattern>(std::move(pattern), std::move(to));
}
std::unique_ptr<Normalizer> prepend_text(std::string prefix) {
  return std::make_unique<Prepend>(std::move(prefix));
}
std::unique_ptr<Normalizer> nmt_normalizer() {
  return std::make_unique<Nmt>();
}
std::unique_ptr<Normalizer> bert_normalizer(const BertNormalization& options) {
  return std::make_unique<BertNormalizer>(options);
}

}  // namespace galleon
