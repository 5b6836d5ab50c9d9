#include "worker/engine/data/tokenizers/pattern.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace galleon {
namespace {

// As Oniguruma has it: superscripts and fractions of Latin-1 are among it, joiners are not.
constexpr absl::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr absl::string_view kHexadecimal = "0-9A-Fa-f";

absl::Status refused(absl::string_view pattern, absl::string_view part) {
  return absl::InvalidArgumentError(
      absl::StrCat("the pattern ", pattern, " has ", part, ", which is not available in this version"));
}

class Rewriter {
 public:
  explicit Rewriter(absl::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> run() {
    absl::Status status;
    while (at_ < pattern_.size() && status.ok()) {
      const absl::string_view rest = pattern_.substr(at_);
      if (rest[0] == '\\' && rest.size() > 1) {
        status = escape(rest[1]);
      } else {
        status = class_begin_ > 0 ? in_class(rest) : outside(rest);
      }
    }
    if (!status.ok()) return status;
    return out_;
  }

 private:
  void take(size_t count) {
    absl::StrAppend(&out_, pattern_.substr(at_, count));
    at_ += count;
  }

  // A class of characters by its letter.
  absl::Status escape(char letter) {
    const bool complement = letter == 'W' || letter == 'H';
    if (letter == 'w' || letter == 'h' || complement) {
      if (complement && class_begin_ > 0)
        return refused(pattern_, absl::StrCat("\\", std::string(1, letter), " in [ ]"));
      const absl::string_view set = letter == 'w' || letter == 'W' ? kWord : kHexadecimal;
      absl::StrAppend(&out_, class_begin_ > 0 ? "" : complement ? "[^" : "[", set, class_begin_ > 0 ? "" : "]");
      at_ += 2;
      return absl::OkStatus();
    }
    const bool named = (letter == 'p' || letter == 'P' || letter == 'x') && pattern_.substr(at_ + 2, 1) == "{";
    const size_t end = named ? pattern_.find('}', at_) : absl::string_view::npos;
    take(end == absl::string_view::npos ? 2 : end + 1 - at_);
    return absl::OkStatus();
  }

  absl::Status in_class(absl::string_view rest) {
    if (absl::StartsWith(rest, "[:")) {
      const size_t end = rest.find(":]");
      if (end == absl::string_view::npos) return refused(pattern_, "[: without :]");
      take(end + 2);
      return absl::OkStatus();
    }
    if (rest[0] == '[') return refused(pattern_, "a set within a set");
    if (absl::StartsWith(rest, "&&")) return refused(pattern_, "&& in [ ]");
    if (rest[0] == ']' && at_ > class_begin_) class_begin_ = 0;
    take(1);
    return absl::OkStatus();
  }

  absl::Status outside(absl::string_view rest) {
    if (absl::StartsWith(rest, "}+")) return refused(pattern_, "}+");
    for (const absl::string_view option : {"(?m", "(?s", "(?x", "(?-m", "(?im", "(?mi", "(?is", "(?si"}) {
      if (absl::StartsWith(rest, option)) return refused(pattern_, option);
    }
    if (rest[0] == '[') {
      // A ] that comes first is a member.
      class_begin_ = at_ + (absl::StartsWith(rest, "[^") ? 2 : 1);
      take(class_begin_ - at_);
      return absl::OkStatus();
    }
    take(1);
    return absl::OkStatus();
  }

  absl::string_view pattern_;
  size_t at_ = 0;
  size_t class_begin_ = 0;  // where the members of the set begin that is open; 0: none is
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> pattern_of_oniguruma(absl::string_view pattern) {
  return Rewriter(pattern).run();
}

}  // namespace galleon
