#include "common/base/tracking_address.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace galleon {

namespace {

constexpr absl::string_view kMark = "://";
constexpr absl::string_view kLooks = "http://HOST:PORT or https://HOST/PATH is how it looks";

absl::Status refused(absl::string_view why) {
  return absl::InvalidArgumentError(why);
}

bool all_of(absl::string_view text, bool (*good)(char)) {
  return std::all_of(text.begin(), text.end(), good);
}

bool in_name(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
}

bool in_number(char c) {
  return absl::ascii_isxdigit(static_cast<unsigned char>(c)) || c == ':' || c == '.';
}

bool in_path(char c) {
  return in_name(c) || c == '~';
}

// HOST, HOST:PORT or [ADDRESS]:PORT, without the port that the scheme has anyway.
absl::StatusOr<std::string> authority_of(absl::string_view text, absl::string_view scheme) {
  const bool bracketed = absl::StartsWith(text, "[");
  const size_t end = bracketed ? text.find(']') : text.find(':');
  if (bracketed && end == absl::string_view::npos) return refused(kLooks);
  const absl::string_view host = bracketed ? text.substr(1, end - 1) : text.substr(0, end);
  if (host.empty() || !all_of(host, bracketed ? in_number : in_name)) return refused(kLooks);
  const absl::string_view rest =
      end == absl::string_view::npos ? absl::string_view() : text.substr(bracketed ? end + 1 : end);
  const std::string name = absl::AsciiStrToLower(bracketed ? absl::StrCat("[", host, "]") : std::string(host));
  if (rest.empty()) return name;
  int port = 0;
  const absl::string_view digits = rest.substr(1);
  if (rest[0] != ':' || digits.empty() ||
      !all_of(digits, [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }) ||
      !absl::SimpleAtoi(digits, &port) || port < 1 || port > 65535) {
    return refused("its port is a number from 1 to 65535");
  }
  const bool usual = port == (scheme == "https" ? 443 : 80);
  return usual ? name : absl::StrCat(name, ":", port);
}

}  // namespace

absl::StatusOr<std::string> tracking_address(absl::string_view text) {
  const size_t mark = text.find(kMark);
  if (mark == absl::string_view::npos) return refused(kLooks);
  const std::string scheme = absl::AsciiStrToLower(text.substr(0, mark));
  if (scheme != "http" && scheme != "https") {
    const bool known = all_of(scheme, in_name);
    return refused(absl::StrCat(known ? absl::StrCat(scheme, ":// is not spoken; ") : "", kLooks,
                                "; `mlflow server` serves a file or a database so"));
  }
  absl::string_view rest = text.substr(mark + kMark.size());
  if (absl::StrContains(rest.substr(0, rest.find('/')), '@')) {
    return refused(
        "credentials do not belong in the address; they come from the environment: MLFLOW_TRACKING_TOKEN, or "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD");
  }
  if (rest.find_first_of("?#") != absl::string_view::npos)
    return refused("a query or a fragment does not belong in the address");
  while (absl::EndsWith(rest, "/")) rest.remove_suffix(1);
  const size_t slash = std::min(rest.find('/'), rest.size());
  absl::StatusOr<std::string> authority = authority_of(rest.substr(0, slash), scheme);
  if (!authority.ok()) return authority.status();
  if (slash < rest.size()) {
    for (const absl::string_view name : absl::StrSplit(rest.substr(slash + 1), '/')) {
      if (name.empty() || name == "." || name == ".." || !all_of(name, in_path))
        return refused("its path has names of letters, digits, '-', '_', '.' and '~', none of them \".\" or \"..\"");
    }
  }
  return absl::StrCat(scheme, kMark, *authority, rest.substr(slash));
}

bool lies_below_tracking_address(absl::string_view address, const std::vector<std::string>& roots) {
  return std::any_of(roots.begin(), roots.end(), [&](const std::string& root) {
    return address == root || absl::StartsWith(address, absl::StrCat(root, "/"));
  });
}

}  // namespace galleon
