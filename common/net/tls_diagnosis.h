// Why a connection with TLS did not come about, in words.
#pragma once

#include <string>

#include "common/net/tls_folder.h"

namespace galleon {

// Tries the handshake once more and says what is wrong with whose certificate, and what helps. Empty: nothing is, or
// nobody is there. `server`: "HOST:PORT"; `folder` is what `tls` was read from, empty for a client without TLS. Takes a
// few seconds at most.
std::string explain_tls(const std::string& server, const TlsFolder& tls, const std::string& folder);

}  // namespace galleon
