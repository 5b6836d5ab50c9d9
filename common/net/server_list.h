// Addresses of schedulers of which one serves, and the search for it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

// A scheduler that stands by names the one that serves in this trailer of its refusal.
inline constexpr char kWriterTrailer[] = "galleon-writer";

// "HOST:PORT" or several with commas between. INVALID_ARGUMENT names what is wrong.
absl::StatusOr<std::vector<std::string>> parse_server_list(absl::string_view text);

// Which address to call: one stays until it does not serve. For use under one lock.
class ServerSearch {
 public:
  // `servers` is not empty.
  explicit ServerSearch(std::vector<std::string> servers) : servers_(std::move(servers)) {}
  size_t current() const { return current_; }
  const std::vector<std::string>& servers() const { return servers_; }
  // The one that was called does not serve; `writer` is what it said of who does, or empty. Only addresses that were
  // given are gone to, whatever is said; without such a word it is the next one's turn.
  void failed(size_t called, absl::string_view writer);

 private:
  std::vector<std::string> servers_;
  size_t current_ = 0;
};

}  // namespace galleon
