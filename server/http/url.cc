#include "server/http/url.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace galleon::server {

namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = absl::ascii_tolower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool is_utf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace

absl::StatusOr<std::string> url_decoded(absl::string_view text, bool is_query) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) return absl::InvalidArgumentError("the address has a % without two hexadecimal digits");
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && is_query) {
      c = ' ';
    }
    if (c == '\0') return absl::InvalidArgumentError("the address has a NUL in it");
    out += c;
  }
  if (!is_utf8(out)) return absl::InvalidArgumentError("the address is not in UTF-8");
  return out;
}

absl::StatusOr<Target> parse_target(absl::string_view target) {
  if (!absl::StartsWith(target, "/")) return absl::InvalidArgumentError("the address must begin with /");
  Target parsed;
  const size_t mark = target.find('?');
  parsed.path = std::string(target.substr(0, mark));
  if (mark == absl::string_view::npos) return parsed;
  for (const absl::string_view pair : absl::StrSplit(target.substr(mark + 1), '&', absl::SkipEmpty())) {
    const size_t equals = pair.find('=');
    ASSIGN_OR_RETURN(std::string name, url_decoded(pair.substr(0, equals), true));
    std::string value;
    if (equals != absl::string_view::npos) {
      ASSIGN_OR_RETURN(value, url_decoded(pair.substr(equals + 1), true));
    }
    parsed.query.emplace_back(std::move(name), std::move(value));
  }
  return parsed;
}

}  // namespace galleon::server
