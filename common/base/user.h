// Users of this machine by name.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace galleon {

struct User {
  uid_t id = 0;
  gid_t group = 0;
  std::vector<gid_t> groups;  // all, its own included
};

// NOT_FOUND: this machine knows no such user.
absl::StatusOr<User> find_user(const std::string& name);

}  // namespace galleon
