#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/chat/template_syntax.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {
namespace {

using Kind = TemplateToken::Kind;

constexpr absl::string_view kSpace = " \t\n\r\f\v";

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)), rest_(source_) {}

  absl::StatusOr<std::vector<TemplateToken>> run() {
    while (!rest_.empty()) {
      RETURN_IF_ERROR(next());
    }
    return std::move(tokens_);
  }

 private:
  absl::Status error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("line ", line_, ": ", what));
  }

  absl::string_view take(size_t count) {
    const absl::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(taken.size());
    line_ += static_cast<int>(std::count(taken.begin(), taken.end(), '\n'));
    return taken;
  }

  void add(Kind kind, absl::string_view text) { tokens_.push_back({kind, std::string(text), line_}); }

  // Text up to the next tag, and the tag.
  absl::Status next() {
    size_t at = 0;
    while (true) {
      at = rest_.find('{', at);
      if (at == absl::string_view::npos || at + 1 >= rest_.size()) {
        add(Kind::kText, rest_);
        rest_ = {};
        return absl::OkStatus();
      }
      if (absl::StrContains("{%#", rest_[at + 1])) break;
      ++at;
    }
    const char tag = rest_[at + 1];
    const char sign = at + 2 < rest_.size() ? rest_[at + 2] : ' ';
    absl::string_view text = rest_.substr(0, at);
    if (sign == '-') {
      const size_t last = text.find_last_not_of(kSpace);
      text = text.substr(0, last == absl::string_view::npos ? 0 : last + 1);
    } else if (sign != '+' && tag != '{') {
      const size_t begin = text.rfind('\n') + 1;  // 0 where there is no line end
      if ((begin > 0 || line_begins_) && text.find_first_not_of(" \t", begin) == absl::string_view::npos)
        text = text.substr(0, begin);
    }
    if (!text.empty()) add(Kind::kText, text);
    take(at + (sign == '-' || sign == '+' ? 3 : 2));
    if (tag == '#') return comment();
    if (tag == '%' && word_here() == "raw") return raw();
    add(tag == '{' ? Kind::kVariableBegin : Kind::kBlockBegin, "");
    return expression(tag == '{');
  }

  absl::string_view word_here() const {
    const size_t begin = std::min(rest_.find_first_not_of(kSpace), rest_.size());
    size_t end = begin;
    while (end < rest_.size() && absl::ascii_isalpha(static_cast<unsigned char>(rest_[end]))) ++end;
    return rest_.substr(begin, end - begin);
  }

  // What follows the end of a tag: '-' takes all white space, a block's or comment's end without a sign one line end.
  void after_tag(char sign, bool variable) {
    line_begins_ = false;
    if (sign == '-') {
      const absl::string_view taken = take(std::min(rest_.find_first_not_of(kSpace), rest_.size()));
      line_begins_ = absl::EndsWith(taken, "\n");
    } else if (!variable && sign != '+' && absl::StartsWith(rest_, "\n")) {
      take(1);
      line_begins_ = true;
    }
  }

  absl::Status comment() {
    const size_t end = rest_.find("#}");
    if (end == absl::string_view::npos) return error("a comment is not closed");
    const char sign = end > 0 ? rest_[end - 1] : ' ';
    take(end + 2);
    after_tag(sign, false);
    return absl::OkStatus();
  }

  absl::Status raw() {
    const size_t begin = rest_.find("%}");
    if (begin == absl::string_view::npos) return error("{% raw is not closed");
    const bool strips = begin > 0 && rest_[begin - 1] == '-';
    take(begin + 2);
    if (strips) take(std::min(rest_.find_first_not_of(kSpace), rest_.size()));
    for (size_t at = rest_.find("{%"); at != absl::string_view::npos; at = rest_.find("{%", at + 1)) {
      const absl::string_view text = rest_.substr(0, at);
      absl::string_view tag = rest_.substr(at + 2);
      const bool strips_before = absl::StartsWith(tag, "-");
      if (strips_before || absl::StartsWith(tag, "+")) tag.remove_prefix(1);
      const size_t end = tag.find("%}");
      if (end == absl::string_view::npos) break;
      absl::string_view inside = absl::StripAsciiWhitespace(tag.substr(0, end));
      const char sign = inside.empty() ? ' ' : inside.back();
      if (sign == '-' || sign == '+') inside = absl::StripAsciiWhitespace(inside.substr(0, inside.size() - 1));
      if (inside != "endraw") continue;
      add(Kind::kText, strips_before ? absl::StripTrailingAsciiWhitespace(text) : text);
      take(static_cast<size_t>(tag.data() - rest_.data()) + end + 2);
      after_tag(sign, false);
      return absl::OkStatus();
    }
    return error("{% raw %} has no {% endraw %}");
  }

  absl::Status expression(bool variable) {
    const absl::string_view close = variable ? "}}" : "%}";
    int braces = 0;
    while (true) {
      take(std::min(rest_.find_first_not_of(kSpace), rest_.size()));
      if (rest_.empty()) return error(variable ? "{{ is not closed" : "{% is not closed");
      const char c = rest_[0];
      if (braces == 0 && (absl::StartsWith(rest_, close) || ((c == '-' || c == '+') && rest_.substr(1, 2) == close))) {
        const char sign = c == '-' || c == '+' ? c : ' ';
        add(variable ? Kind::kVariableEnd : Kind::kBlockEnd, "");
        take(sign == ' ' ? 2 : 3);
        after_tag(sign, variable);
        return absl::OkStatus();
      }
      if (c == '\'' || c == '"') {
        RETURN_IF_ERROR(string());
        continue;
      }
      const auto word = [](char x) { return absl::ascii_isalnum(static_cast<unsigned char>(x)) || x == '_'; };
      size_t size = 0;
      if (absl::ascii_isdigit(static_cast<unsigned char>(c))) {
        const auto digit = [&] {
          return size < rest_.size() && absl::ascii_isdigit(static_cast<unsigned char>(rest_[size]));
        };
        while (digit()) ++size;
        if (size + 1 < rest_.size() && rest_[size] == '.' &&
            absl::ascii_isdigit(static_cast<unsigned char>(rest_[size + 1]))) {
          for (++size; digit();) ++size;
        }
        add(Kind::kNumber, take(size));
        continue;
      }
      while (size < rest_.size() && word(rest_[size])) ++size;
      if (size > 0) {
        add(Kind::kName, take(size));
        continue;
      }
      const absl::string_view two = rest_.substr(0, 2);
      for (absl::string_view known : {"==", "!=", "<=", ">=", "//", "**"}) size = two == known ? 2 : size;
      if (size == 0 && absl::StrContains("+-*/%~()[]{}.,:|=<>", c)) size = 1;
      if (size == 0) return error(absl::StrCat("the character ", std::string(1, c), " has no meaning here"));
      if (c == '{') ++braces;
      if (c == '}') --braces;
      add(Kind::kOperator, take(size));
    }
  }

  absl::Status string() {
    const char quote = rest_[0];
    std::string text;
    size_t at = 1;
    for (; at < rest_.size() && rest_[at] != quote; ++at) {
      if (rest_[at] != '\\' || at + 1 >= rest_.size()) {
        text.push_back(rest_[at]);
        continue;
      }
      const char c = rest_[++at];
      const absl::string_view simple = "ntr\\'\"\n";
      const absl::string_view meant = "\n\t\r\\'\"";
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 0;
      if (const size_t place = simple.find(c); place < meant.size()) {
        text.push_back(meant[place]);
      } else if (digits > 0 && at + digits < rest_.size()) {
        const std::string hex(rest_.substr(at + 1, digits));
        if (!std::all_of(hex.begin(), hex.end(), [](unsigned char x) { return absl::ascii_isxdigit(x); }))
          return error("an escape in a string is not hexadecimal");
        append_code_point(static_cast<int32_t>(std::stoul(hex, nullptr, 16)), text);
        at += digits;
      } else if (c != '\n') {
        text += {'\\', c};
      }
    }
    if (at >= rest_.size()) return error("a string is not closed");
    add(Kind::kString, valid_utf8(text));
    take(at + 1);
    return absl::OkStatus();
  }

  std::string source_;
  absl::string_view rest_;
  std::vector<TemplateToken> tokens_;
  int line_ = 1;
  bool line_begins_ = true;
};

}  // namespace

absl::StatusOr<std::vector<TemplateToken>> template_tokens(absl::string_view source) {
  std::string text = absl::StrReplaceAll(source, {{"\r\n", "\n"}, {"\r", "\n"}});
  if (absl::EndsWith(text, "\n")) text.pop_back();
  return Lexer(std::move(text)).run();
}

}  // namespace galleon
