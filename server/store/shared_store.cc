#include "server/store/shared_store.h"

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/secret_file.h"
#include "common/base/status_macros.h"
#ifdef GALLEON_POSTGRES
#include "server/store/postgres/postgres_store.h"
#endif

namespace galleon::server {

namespace {

bool is_postgres(absl::string_view text) {
  return absl::StartsWith(text, "postgresql://") || absl::StartsWith(text, "postgres://");
}

// "user:secret@" before the first "/", or a parameter that is one.
bool has_secret(absl::string_view url) {
  absl::string_view rest = url.substr(url.find("://") + 3);
  const absl::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  const size_t at = authority.rfind('@');
  if (at != absl::string_view::npos && absl::StrContains(authority.substr(0, at), ':')) return true;
  const size_t question = rest.find('?');
  if (question == absl::string_view::npos) return false;
  for (const absl::string_view parameter : absl::StrSplit(rest.substr(question + 1), '&')) {
    const absl::string_view key = parameter.substr(0, parameter.find('='));
    // A name may be written with percent signs; none that is needed has to be.
    if (key == "password" || key == "sslpassword" || absl::StrContains(key, '%')) return true;
  }
  return false;
}

}  // namespace

absl::Status term_over(absl::string_view sentence) {
  absl::Status status = absl::AbortedError(sentence);
  status.SetPayload(kTermOverPayload, absl::Cord("1"));
  return status;
}

bool is_term_over(const absl::Status& status) {
  return status.GetPayload(kTermOverPayload).has_value();
}

absl::StatusOr<StoreAddress> parse_store(const std::string& text) {
  if (text.empty()) return StoreAddress();
  if (text[0] == '@') {
    ASSIGN_OR_RETURN(const std::string content, read_secret(text.substr(1)));
    const std::string line(absl::StripAsciiWhitespace(content.substr(0, content.find('\n'))));
    if (!is_postgres(line)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--store ", text, ": its first line is not an address such as postgresql://HOST/DATABASE"));
    }
    return StoreAddress{line};
  }
  // What is wrong may be a secret too, so that it is not repeated.
  if (!is_postgres(text)) {
    return absl::InvalidArgumentError(
        "--store: an address such as postgresql://USER@HOST/DATABASE is accepted, or @FILE with one; without --store "
        "the journal is SQLite's, in --data");
  }
  if (has_secret(text)) {
    return absl::InvalidArgumentError(
        "--store: there is a password in the address, which every user of this machine can read there; put the address "
        "into a file (--store @FILE), or the password into one (passfile=, PGPASSFILE) or into PGPASSWORD");
  }
  return StoreAddress{text};
}

absl::StatusOr<std::unique_ptr<SharedStore>> open_shared_store(const SharedStoreOptions& options) {
#ifdef GALLEON_POSTGRES
  return PostgresStore::open(options);
#else
  (void)options;
  return absl::UnimplementedError(
      "--store: this galleon-scheduler was built without PostgreSQL; build it where libpq's headers are, or leave "
      "--store away");
#endif
}

}  // namespace galleon::server
