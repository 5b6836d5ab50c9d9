// Who uses what: of each user in a queue the jobs that wait, the slots, and what was used lately; of each user in a
// project the jobs that wait and the bytes of jobs' folders. Kept up to date by every change of the state.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "galleon/v1/journal.pb.h"

namespace galleon::server {

struct UserInQueue {
  uint32_t queued = 0;
  uint32_t slots = 0;
  // Slots times milliseconds as of `time_ms`, each counting half after the queue's half-life. 0 where users do not take
  // turns.
  double past = 0;
  int64_t time_ms = 0;
};

struct UserInProject {
  uint64_t queued = 0;
  uint64_t folder_bytes = 0;
};

class Usage {
 public:
  using QueueUsers = std::map<std::string, UserInQueue>;
  using ProjectUsers = std::map<std::string, UserInProject>;

  // A job is there as its record says (by 1), or is no more (by -1).
  void count(const v1::JobRecord& record, int by);
  // Slots of a user from now on.
  void change_slots(const std::string& queue, const std::string& user, int64_t by, int64_t time_ms);
  // Of a state that is restored: they were counted before.
  void restore_slots(const std::string& queue, const std::string& user, uint32_t slots);

  // In these queues users take turns from now on; what others remember of the past is forgotten.
  void set_half_lives(std::map<std::string, int64_t> half_lives_ms, int64_t time_ms);
  const std::map<std::string, int64_t>& half_lives_ms() const { return half_lives_ms_; }

  // Slots that a user has held on average, what is longer ago counting less: who holds k all the time comes to k.
  double recent_slots(const std::string& queue, const std::string& user, int64_t time_ms) const;
  UserInQueue in_queue(const std::string& queue, const std::string& user) const;
  UserInProject in_project(const std::string& project, const std::string& user) const;
  UserInProject in_project(const std::string& project) const;
  // Those who have something there, by name.
  const QueueUsers& users_of_queue(const std::string& queue) const;
  const std::map<std::string, ProjectUsers>& projects() const { return projects_; }

  void save(v1::StateSnapshot& snapshot) const;
  void restore(const v1::StateSnapshot& snapshot);

 private:
  int64_t half_life_ms(const std::string& queue) const;
  static double past_at(const UserInQueue& use, int64_t half_life_ms, int64_t time_ms);
  void forget_idle(const std::string& queue, int64_t time_ms);

  std::map<std::string, int64_t> half_lives_ms_;
  std::map<std::string, QueueUsers> queues_;
  std::map<std::string, ProjectUsers> projects_;
};

}  // namespace galleon::server
