#include "worker/engine/data/tokenizers/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/pattern.h"

namespace galleon {
namespace {

pcre2_code* code_of(void* code) {
  return static_cast<pcre2_code*>(code);
}

}  // namespace

absl::StatusOr<Regex> Regex::compile(const std::string& written) {
  ASSIGN_OR_RETURN(const std::string pattern, pattern_of_oniguruma(written));
  int error = 0;
  PCRE2_SIZE offset = 0;
  // \C would cut within a character.
  pcre2_code* code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof(message));
    return absl::InvalidArgumentError(absl::StrCat("the pattern ", pattern, " is not sound at character ", offset, ": ",
                                                   reinterpret_cast<const char*>(message)));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without it the same matches are found, more slowly
  return Regex(code);
}

Regex::Regex(Regex&& other) noexcept : code_(std::exchange(other.code_, nullptr)) {}

Regex& Regex::operator=(Regex&& other) noexcept {
  std::swap(code_, other.code_);
  return *this;
}

Regex::~Regex() {
  pcre2_code_free(code_of(code_));
}

Regex::Matcher::Matcher(const Regex& regex)
    : regex_(regex), data_(pcre2_match_data_create_from_pattern(code_of(regex.code_), nullptr)) {
  GALLEON_CHECK(data_ != nullptr) << "no memory for a match";
}

Regex::Matcher::~Matcher() {
  pcre2_match_data_free(static_cast<pcre2_match_data*>(data_));
}

bool Regex::Matcher::find(absl::string_view text, size_t from, size_t& begin, size_t& end) {
  auto* data = static_cast<pcre2_match_data*>(data_);
  const auto match = [&](uint32_t options) {
    return pcre2_match(code_of(regex_.code_), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                       PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | options, data, nullptr);
  };
  int found = match(0);
  // A long match may need more room than compiled code has.
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(PCRE2_NO_JIT);
  // Also where a limit on backtracking ended the search: what is left is then one piece.
  if (found < 0) return false;
  const PCRE2_SIZE* place = pcre2_get_ovector_pointer(data);
  begin = place[0];
  end = place[1];
  return true;
}

}  // namespace galleon
