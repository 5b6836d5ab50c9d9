#include "common/net/server_list.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace galleon {

absl::StatusOr<std::vector<std::string>> parse_server_list(absl::string_view text) {
  std::vector<std::string> servers;
  for (const absl::string_view piece : absl::StrSplit(text, ',')) {
    const std::string server(absl::StripAsciiWhitespace(piece));
    if (server.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\": HOST:PORT is accepted, or several with commas between"));
    }
    if (std::find(servers.begin(), servers.end(), server) == servers.end()) servers.push_back(server);
  }
  return servers;
}

void ServerSearch::failed(size_t called, absl::string_view writer) {
  // Another caller has gone on already.
  if (called != current_) return;
  const auto named = std::find(servers_.begin(), servers_.end(), writer);
  current_ = named != servers_.end() && static_cast<size_t>(named - servers_.begin()) != called
                 ? static_cast<size_t>(named - servers_.begin())
                 : (called + 1) % servers_.size();
}

}  // namespace galleon
