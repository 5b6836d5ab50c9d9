#include "common/net/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/files.h"

namespace galleon {

namespace {

absl::Status malformed(absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text,
      "\" is not an address to listen on; write HOST:PORT such as 127.0.0.1:7070, port 0 for any free one"));
}

}  // namespace

absl::StatusOr<ListenAddress> parse_listen_address(absl::string_view text) {
  ListenAddress address;
  absl::string_view port;
  if (!text.empty() && text.front() == '[') {
    const size_t end = text.find("]:");
    if (end == absl::string_view::npos) return malformed(text);
    address.host = std::string(text.substr(1, end - 1));
    port = text.substr(end + 2);
    in6_addr parsed{};
    if (inet_pton(AF_INET6, address.host.c_str(), &parsed) != 1) return malformed(text);
  } else {
    const size_t colon = text.find(':');
    if (colon == absl::string_view::npos || colon == 0) return malformed(text);
    address.host = std::string(text.substr(0, colon));
    port = text.substr(colon + 1);
  }
  uint32_t number = 0;
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(port, &number) || number > 65535) {
    return malformed(text);
  }
  address.port = static_cast<uint16_t>(number);
  return address;
}

std::string to_string(const ListenAddress& address) {
  if (address.host.find(':') != std::string::npos) return absl::StrCat("[", address.host, "]:", address.port);
  return absl::StrCat(address.host, ":", address.port);
}

bool is_loopback(const ListenAddress& address) {
  if (address.host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, address.host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, address.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::Status require_loopback(const ListenAddress& address, absl::string_view flag) {
  if (is_loopback(address)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      flag, " ", to_string(address), " would be open to other machines, and this server speaks no TLS; give ", flag,
      " 127.0.0.1:", address.port, " instead"));
}

namespace {

std::string json_string(absl::string_view text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

}  // namespace

absl::Status write_ready_file(const std::string& path, const ReadyFile& ready) {
  std::vector<std::string> fields = {absl::StrCat("\"pid\": ", ready.pid)};
  if (!ready.listen.empty()) fields.push_back(absl::StrCat("\"listen\": ", json_string(ready.listen)));
  if (!ready.metrics.empty()) fields.push_back(absl::StrCat("\"metrics\": ", json_string(ready.metrics)));
  if (!ready.page.empty()) fields.push_back(absl::StrCat("\"page\": ", json_string(ready.page)));
  return write_file_atomically(path, absl::StrCat("{", absl::StrJoin(fields, ", "), "}\n"));
}

}  // namespace galleon
