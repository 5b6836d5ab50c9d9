// An entry of scheduling.after: which job comes before, and how it has to end.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "galleon/v1/jobs.pb.h"

namespace galleon::server {

struct Dependency {
  enum class Condition { kSucceeded, kEnded, kFailed };
  enum class Verdict { kWaits, kMet, kHopeless };
  Condition condition = Condition::kSucceeded;
  std::string job_id;

  // `before`: the state of the job; nullopt where it has left the list, which holds up nobody.
  Verdict judge(std::optional<v1::JobRecord::State> before) const;
  // "to succeed", "to end", "to fail".
  const char* text() const;
};

// "JOB", "any:JOB" or "failed:JOB", where JOB may be "jobs/ID".
Dependency dependency_of(absl::string_view entry);

}  // namespace galleon::server
