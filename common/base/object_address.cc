#include "common/base/object_address.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace galleon {

namespace {

constexpr absl::string_view kMark = "://";

size_t scheme_bytes(absl::string_view text) {
  const size_t end = text.find(kMark);
  if (end == absl::string_view::npos || end == 0 || !absl::ascii_isalpha(text[0])) return 0;
  const absl::string_view scheme = text.substr(0, end);
  const bool good = std::all_of(scheme.begin(), scheme.end(),
                                [](char c) { return absl::ascii_isalnum(c) || c == '+' || c == '-' || c == '.'; });
  return good ? end : 0;
}

absl::Status unread_scheme(absl::string_view scheme) {
  absl::string_view advice = "s3://, gs:// and abfs:// are read";
  if (scheme == "s3a" || scheme == "s3n") advice = "write s3://";
  if (scheme == "gcs") advice = "write gs://";
  if (scheme == "file") advice = "write the plain path";
  if (scheme == "hf" || scheme == "http" || scheme == "https")
    advice = "download it and write its path; s3://, gs:// and abfs:// are read";
  return absl::InvalidArgumentError(absl::StrCat(scheme, ":// is not read; ", advice));
}

}  // namespace

bool is_address(absl::string_view text) {
  return scheme_bytes(text) > 0;
}

absl::Status check_address(absl::string_view address) {
  const absl::string_view scheme = address.substr(0, scheme_bytes(address));
  const bool azure = scheme == "abfs" || scheme == "abfss";
  if (scheme != "s3" && scheme != "gs" && !azure) return unread_scheme(scheme);
  const absl::string_view rest = address.substr(scheme.size() + kMark.size());
  const absl::string_view authority = rest.substr(0, rest.find('/'));
  const absl::string_view user = authority.substr(0, authority.rfind('@'));
  const bool has_user = absl::StrContains(authority, '@');
  if (azure ? absl::StrContains(user, ':') : has_user) {
    return absl::InvalidArgumentError(
        absl::StrCat("credentials do not belong in an address of ", scheme, "://; they come from the environment"));
  }
  if (absl::StrContains(rest, "?") && absl::StrContains(rest.substr(rest.find('?')), '=')) {
    return absl::InvalidArgumentError(absl::StrCat("a query does not belong in an address of ", scheme,
                                                   "://; credentials come from the environment"));
  }
  if (authority.empty() || (azure && (!has_user || user.empty()))) {
    return absl::InvalidArgumentError(azure ? "abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH is how it looks"
                                            : absl::StrCat(scheme, "://BUCKET/PATH is how it looks"));
  }
  if (authority.find_first_of("*?[{") != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the ", azure ? "container" : "bucket", " of an address of ", scheme, ":// is no pattern"));
  }
  // Libraries on the way to a store may take them for steps in a tree.
  for (const absl::string_view name : absl::StrSplit(rest, '/'))
    if (name == "." || name == "..")
      return absl::InvalidArgumentError(absl::StrCat("an address of ", scheme, ":// cannot have the name ", name));
  return absl::OkStatus();
}

std::string without_trailing_slashes(absl::string_view address) {
  while (absl::EndsWith(address, "/") && !absl::EndsWith(address, kMark)) address.remove_suffix(1);
  return std::string(address);
}

}  // namespace galleon
