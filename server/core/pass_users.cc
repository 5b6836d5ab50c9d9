#include "server/core/pass_users.h"

namespace galleon::server {

PassUsers::PassUsers(const Usage& usage, int64_t wall_ms, std::vector<UserShare>& users)
    : usage_(usage), wall_ms_(wall_ms), users_(users) {
  for (size_t i = 0; i < users.size(); ++i) known_[{users[i].queue, *users[i].name}] = static_cast<int64_t>(i);
}

int64_t PassUsers::of(const QueueUse& queue, size_t queue_index, const std::string& name) {
  const QueueConfig& config = queue.config;
  if (config.half_life_ms == 0 && config.user_limit_slots == 0) return kNoUser;
  const auto [it, added] = known_.try_emplace({queue_index, name}, static_cast<int64_t>(users_.size()));
  if (!added) return it->second;
  UserShare& share = users_.emplace_back();
  share.name = &name;
  share.queue = queue_index;
  share.weight = config.user_weight(name);
  share.recent = usage_.recent_slots(config.id, name, wall_ms_);
  share.limit = config.user_limit_slots;
  return it->second;
}

}  // namespace galleon::server
