#include "common/net/bearer_token.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/secret_file.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr size_t kShortest = 16;
constexpr size_t kLongest = 4096;
constexpr absl::string_view kScheme = "bearer ";

absl::StatusOr<std::string> read_token(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, read_secret(file));
  const absl::string_view token = absl::StripAsciiWhitespace(text);
  const bool printable = std::all_of(token.begin(), token.end(), absl::ascii_isgraph);
  if (!printable || token.size() < kShortest || token.size() > kLongest) {
    return absl::InvalidArgumentError(absl::StrCat(file, " has no token of ", kShortest, " to ", kLongest,
                                                   " printable characters; openssl rand -hex 32 makes one"));
  }
  return std::string(token);
}

// What the one header of that name says; empty: there is none, or more than one.
absl::string_view authorization_of(absl::string_view request) {
  absl::string_view found;
  for (const absl::string_view line : absl::StrSplit(request, '\n')) {
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos || !absl::EqualsIgnoreCase(line.substr(0, colon), "authorization")) continue;
    if (!found.empty()) return "";
    found = absl::StripAsciiWhitespace(line.substr(colon + 1));
  }
  return found;
}

}  // namespace

absl::Status BearerToken::check() const {
  return read_token(file_).status();
}

absl::Status BearerToken::shown_in(absl::string_view request) const {
  ASSIGN_OR_RETURN(const std::string token, read_token(file_));
  const absl::string_view said = authorization_of(request);
  const absl::string_view shown =
      absl::StartsWithIgnoreCase(said, kScheme) ? absl::StripAsciiWhitespace(said.substr(kScheme.size())) : "";
  // In the same time wherever they differ.
  if (shown.size() == token.size() && CRYPTO_memcmp(shown.data(), token.data(), token.size()) == 0)
    return absl::OkStatus();
  return absl::UnauthenticatedError("Authorization: Bearer TOKEN is needed here");
}

}  // namespace galleon
