// The users of a pass's queues, as far as their use decides: looked up once, by queue and name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/core/line.h"
#include "server/core/usage.h"

namespace galleon::server {

class PassUsers {
 public:
  // Adds to `users`, which outlives this, as do the names that are asked for.
  PassUsers(const Usage& usage, int64_t wall_ms, std::vector<UserShare>& users);
  // Its place among the users; kNoUser where it does not matter who somebody is.
  int64_t of(const QueueUse& queue, size_t queue_index, const std::string& name);

 private:
  const Usage& usage_;
  const int64_t wall_ms_;
  std::vector<UserShare>& users_;
  std::map<std::pair<size_t, absl::string_view>, int64_t> known_;
};

}  // namespace galleon::server
