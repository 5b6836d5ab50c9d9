// A small certificate authority, for a service whose machines have none of their own.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace galleon {

struct KeyPair {
  std::string certificate;  // PEM
  std::string key;          // PEM, not encrypted
};

// An authority of its own (ECDSA P-256).
absl::StatusOr<KeyPair> make_authority(const std::string& name, absl::Time from, absl::Time until);
// A certificate for `name` signed by it, for servers reached as one of `hosts` (names or addresses; none: a client's).
absl::StatusOr<KeyPair> make_certificate(const KeyPair& authority, const std::string& name,
                                         const std::vector<std::string>& hosts, absl::Time from, absl::Time until);
// SHA-256 in hexadecimal.
std::string sha256_hex(const std::string& text);

// Makes FOLDER/{authority,server,admin,worker}: the authority (its key is needed to sign more, and nowhere else), and a
// folder for each of the programs to be given with --tls. ALREADY_EXISTS: there is an authority.
absl::Status init_tls(const std::string& folder, const std::vector<std::string>& hosts, absl::Duration valid);
// A file that its owner alone may read, at every moment.
absl::Status write_secret(const std::string& path, const std::string& content);
// Makes one more client's folder, FOLDER/NAME.
absl::Status add_client(const std::string& folder, const std::string& name, absl::Duration valid);

}  // namespace galleon
