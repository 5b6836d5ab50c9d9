#include "worker/engine/data/tokenizers/pre_tokenizer.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace galleon {

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

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

class StripAccents final : public Normalizer {
 public:
  std::string apply(absl::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const int32_t c = next_code_point(text, at);
      if (!is_nonspacing_mark(c)) append_code_point(c, out);
    }
    return out;
  }
};

class Replace final : public Normalizer {
 public:
  Replace(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  std::string apply(absl::string_view text) const override { return absl::StrReplaceAll(text, {{from_, to_}}); }

 private:
  std::string from_;
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
    if (options_.strip_accents) out = StripAccents().apply(normalized(out, NormalForm::kNfd));
    if (options_.lowercase) out = lower_case(out);
    return out;
  }

 private:
  BertNormalization options_;
};

class SplitByPattern final : public PreTokenizer {
 public:
  SplitByPattern(Regex pattern, Separators separators, bool invert)
      : pattern_(std::move(pattern)), separators_(separators), invert_(invert) {}
  void split(absl::string_view piece, const PieceSink& sink) const override {
    Regex::Matcher matcher(pattern_);
    const bool keep_matches = invert_ || separators_ == Separators::kIsolated;
    const bool keep_between = !invert_ || separators_ == Separators::kIsolated;
    size_t done = 0;
    size_t begin = 0;
    size_t end = 0;
    while (done < piece.size() && matcher.find(piece, done, begin, end)) {
      if (begin > done && keep_between) sink(piece.substr(done, begin - done));
      if (keep_matches) sink(piece.substr(begin, end - begin));
      done = end;
    }
    if (done < piece.size() && keep_between) sink(piece.substr(done));
  }

 private:
  Regex pattern_;
  Separators separators_;
  bool invert_;
};

class SplitDigits final : public PreTokenizer {
 public:
  explicit SplitDigits(bool individual) : individual_(individual) {}
  void split(absl::string_view piece, const PieceSink& sink) const override {
    size_t start = 0;  // of the run that is being read
    bool digits = false;
    for (size_t at = 0; at < piece.size();) {
      const size_t here = at;
      const bool digit = is_number(next_code_point(piece, at));
      if (here > start && (digit != digits || (digit && individual_))) {
        sink(piece.substr(start, here - start));
        start = here;
      }
      digits = digit;
    }
    if (start < piece.size()) sink(piece.substr(start));
  }

 private:
  bool individual_;
};

class SplitWordsAndPunctuation final : public PreTokenizer {
 public:
  void split(absl::string_view piece, const PieceSink& sink) const override {
    size_t start = 0;
    const auto flush = [&](size_t end) {
      if (end > start) sink(piece.substr(start, end - start));
    };
    for (size_t at = 0; at < piece.size();) {
      const size_t here = at;
      const int32_t c = next_code_point(piece, at);
      const bool space = is_white_space(c);
      if (!space && !is_punctuation(c)) continue;
      flush(here);
      if (!space) sink(piece.substr(here, at - here));
      start = at;
    }
    flush(piece.size());
  }
};

class AddPrefixSpace final : public PreTokenizer {
 public:
  void split(absl::string_view piece, const PieceSink& sink) const override {
    if (piece.empty() || piece[0] == ' ') {
      sink(piece);
    } else {
      sink(absl::StrCat(" ", piece));
    }
  }
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, bool prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}
  void split(absl::string_view piece, const PieceSink& sink) const override {
    std::string text = absl::StrReplaceAll(piece, {{" ", replacement_}});
    if (prepend_ && !absl::StartsWith(text, replacement_)) text = absl::StrCat(replacement_, text);
    if (!split_) {
      sink(text);
      return;
    }
    const absl::string_view whole = text;
    size_t start = 0;
    for (;;) {
      const size_t next = whole.find(replacement_, start + (start < whole.size() ? 1 : 0));
      if (next == absl::string_view::npos) break;
      sink(whole.substr(start, next - start));
      start = next;
    }
    if (start < whole.size()) sink(whole.substr(start));
  }

 private:
  std::string replacement_;
  bool prepend_;
  bool split_;
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
std::unique_ptr<Normalizer> replace_text(std::string from, std::string to) {
  return std::make_unique<Replace>(std::move(from), std::move(to));
}
std::unique_ptr<Normalizer> prepend_text(std::string prefix) {
  return std::make_unique<Prepend>(std::move(prefix));
}
std::unique_ptr<Normalizer> bert_normalizer(const BertNormalization& options) {
  return std::make_unique<BertNormalizer>(options);
}
std::unique_ptr<PreTokenizer> split_by(Regex pattern, Separators separators, bool invert) {
  return std::make_unique<SplitByPattern>(std::move(pattern), separators, invert);
}
std::unique_ptr<PreTokenizer> split_digits(bool individual) {
  return std::make_unique<SplitDigits>(individual);
}
std::unique_ptr<PreTokenizer> split_words_and_punctuation() {
  return std::make_unique<SplitWordsAndPunctuation>();
}
std::unique_ptr<PreTokenizer> add_prefix_space() {
  return std::make_unique<AddPrefixSpace>();
}
std::unique_ptr<PreTokenizer> metaspace(std::string replacement, bool prepend, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), prepend, split);
}

}  // namespace galleon
