#include "worker/engine/data/tokenizers/pre_tokenizer.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// Takes a piece's stretches in their order, separators and what lies between them, and hands out what they become.
class StretchSink {
 public:
  StretchSink(absl::string_view piece, bool first, Separators separators, const PieceSink& sink)
      : piece_(piece), first_(first), separators_(separators), sink_(sink) {}

  void add(size_t begin, size_t end, bool separator) {
    if (begin == end) return;
    const bool joins = started_ && joins_before(separator);
    if (!joins) {
      flush();
      begin_ = begin;
      started_ = !(separator && separators_ == Separators::kRemoved);
    }
    end_ = end;
    after_separator_ = separator;
  }
  void flush() {
    if (started_) sink_(piece_.substr(begin_, end_ - begin_), first_ && begin_ == 0);
    started_ = false;
  }

 private:
  bool joins_before(bool separator) const {
    switch (separators_) {
      case Separators::kWithPrevious:
        return separator && !after_separator_;
      case Separators::kWithNext:
        return !separator && after_separator_;
      case Separators::kContiguous:
        return separator == after_separator_;
      case Separators::kIsolated:
      case Separators::kRemoved:
        break;
    }
    return false;
  }

  absl::string_view piece_;
  bool first_;
  Separators separators_;
  const PieceSink& sink_;
  bool started_ = false;
  bool after_separator_ = false;
  size_t begin_ = 0;
  size_t end_ = 0;
};

class SplitByPattern final : public PreTokenizer {
 public:
  SplitByPattern(Regex pattern, Separators separators, bool invert)
      : pattern_(std::move(pattern)), separators_(separators), invert_(invert) {}
  void split(absl::string_view piece, bool first, const PieceSink& sink) const override {
    Regex::Matcher matcher(pattern_);
    StretchSink stretches(piece, first, separators_, sink);
    size_t done = 0;
    size_t begin = 0;
    size_t end = 0;
    while (done < piece.size() && matcher.find(piece, done, begin, end)) {
      stretches.add(done, begin, invert_);
      stretches.add(begin, end, !invert_);
      done = end;
    }
    stretches.add(done, piece.size(), invert_);
    stretches.flush();
  }

 private:
  Regex pattern_;
  Separators separators_;
  bool invert_;
};

// `Separates`: of a code point.
template <typename Separates>
class SplitByCharacter final : public PreTokenizer {
 public:
  SplitByCharacter(Separates separates, Separators separators) : separates_(separates), separators_(separators) {}
  void split(absl::string_view piece, bool first, const PieceSink& sink) const override {
    StretchSink stretches(piece, first, separators_, sink);
    size_t start = 0;  // of what is no separator
    for (size_t at = 0; at < piece.size();) {
      const size_t here = at;
      if (!separates_(next_code_point(piece, at))) continue;
      stretches.add(start, here, false);
      stretches.add(here, at, true);
      start = at;
    }
    stretches.add(start, piece.size(), false);
    stretches.flush();
  }

 private:
  Separates separates_;
  Separators separators_;
};

class SplitWordsAndMarks final : public PreTokenizer {
 public:
  void split(absl::string_view piece, bool first, const PieceSink& sink) const override {
    enum class Kind { kSpace, kWord, kMark };
    size_t start = 0;
    Kind kind = Kind::kSpace;
    const auto flush = [&](size_t end) {
      if (end > start && kind != Kind::kSpace) sink(piece.substr(start, end - start), first && start == 0);
    };
    for (size_t at = 0; at < piece.size();) {
      const size_t here = at;
      const int32_t c = next_code_point(piece, at);
      const Kind next = is_word_character(c) ? Kind::kWord : is_white_space(c) ? Kind::kSpace : Kind::kMark;
      if (next == kind) continue;
      flush(here);
      start = here;
      kind = next;
    }
    flush(piece.size());
  }
};

class SplitWordsAndPunctuation final : public PreTokenizer {
 public:
  void split(absl::string_view piece, bool first, const PieceSink& sink) const override {
    size_t start = 0;
    const auto flush = [&](size_t end) {
      if (end > start) sink(piece.substr(start, end - start), first && start == 0);
    };
    for (size_t at = 0; at < piece.size();) {
      const size_t here = at;
      const int32_t c = next_code_point(piece, at);
      const bool space = is_white_space(c);
      if (!space && !is_punctuation(c)) continue;
      flush(here);
      if (!space) sink(piece.substr(here, at - here), first && here == 0);
      start = at;
    }
    flush(piece.size());
  }
};

class AddPrefixSpace final : public PreTokenizer {
 public:
  void split(absl::string_view piece, bool first, const PieceSink& sink) const override {
    if (piece.empty() || piece[0] == ' ') {
      sink(piece, first);
    } else {
      sink(absl::StrCat(" ", piece), first);
    }
  }
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}
  void split(absl::string_view piece, bool first, const PieceSink& sink) const override {
    std::string text = absl::StrReplaceAll(piece, {{" ", replacement_}});
    const bool prepends = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && first);
    if (prepends && !absl::StartsWith(text, replacement_)) text = absl::StrCat(replacement_, text);
    if (!split_) {
      sink(text, first);
      return;
    }
    const absl::string_view whole = text;
    size_t start = 0;
    for (;;) {
      const size_t next = whole.find(replacement_, start + (start < whole.size() ? 1 : 0));
      if (next == absl::string_view::npos) break;
      sink(whole.substr(start, next - start), first && start == 0);
      start = next;
    }
    if (start < whole.size()) sink(whole.substr(start), first && start == 0);
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

}  // namespace

std::unique_ptr<PreTokenizer> split_by(Regex pattern, Separators separators, bool invert) {
  return std::make_unique<SplitByPattern>(std::move(pattern), separators, invert);
}
std::unique_ptr<PreTokenizer> split_by(bool (*separates)(int32_t), Separators separators) {
  return std::make_unique<SplitByCharacter<bool (*)(int32_t)>>(separates, separators);
}
std::unique_ptr<PreTokenizer> split_by(int32_t code_point, Separators separators) {
  const auto separates = [code_point](int32_t c) { return c == code_point; };
  return std::make_unique<SplitByCharacter<decltype(separates)>>(separates, separators);
}
std::unique_ptr<PreTokenizer> split_words_and_marks() {
  return std::make_unique<SplitWordsAndMarks>();
}
std::unique_ptr<PreTokenizer> split_words_and_punctuation() {
  return std::make_unique<SplitWordsAndPunctuation>();
}
std::unique_ptr<PreTokenizer> add_prefix_space() {
  return std::make_unique<AddPrefixSpace>();
}
std::unique_ptr<PreTokenizer> metaspace(std::string replacement, Prepend prepend, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), prepend, split);
}

}  // namespace galleon
