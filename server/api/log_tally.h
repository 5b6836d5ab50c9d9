// How many bytes of logs are kept of each project and of each of its users, and whether there is room for more.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "server/core/quota.h"

namespace galleon::server {

// For any thread.
class LogTally {
 public:
  struct Owner {
    std::string project;
    std::string user;
  };

  // So many bytes more are kept of a job.
  void add(const std::string& job_id, const Owner& owner, uint64_t bytes);
  // Nothing of it is kept any more.
  void remove(const std::string& job_id);
  uint64_t of_project(const std::string& project) const;
  uint64_t of_user(const std::string& project, const std::string& user) const;
  // All projects of which something is kept.
  std::map<std::string, uint64_t> projects() const;
  // Why `bytes` more are not kept, in words with what frees some; empty: they are.
  std::string refusal(const ProjectQuota& quota, const std::string& user, uint64_t bytes) const;

 private:
  struct Kept {
    Owner owner;
    uint64_t bytes = 0;
  };
  mutable std::mutex mutex_;
  std::map<std::string, Kept> jobs_;
  std::map<std::string, uint64_t> projects_;
  std::map<std::pair<std::string, std::string>, uint64_t> users_;
};

}  // namespace galleon::server
