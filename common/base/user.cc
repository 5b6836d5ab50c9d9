#include "common/base/user.h"

#include <grp.h>
#include <pwd.h>

#include "absl/strings/str_cat.h"

namespace galleon {

absl::StatusOr<User> find_user(const std::string& name) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> text(1 << 16);
  if (::getpwnam_r(name.c_str(), &entry, text.data(), text.size(), &found) != 0 || found == nullptr)
    return absl::NotFoundError(absl::StrCat("this machine has no user ", name));
  User user{entry.pw_uid, entry.pw_gid, std::vector<gid_t>(1 << 10)};
  auto count = static_cast<int>(user.groups.size());
  if (::getgrouplist(name.c_str(), user.group, user.groups.data(), &count) < 0)
    return absl::NotFoundError(absl::StrCat("the groups of user ", name, " are too many"));
  user.groups.resize(static_cast<size_t>(count));
  return user;
}

}  // namespace galleon
