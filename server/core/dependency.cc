#include "server/core/dependency.h"

#include "absl/strings/strip.h"
#include "server/core/transitions.h"

namespace galleon::server {

Dependency::Verdict Dependency::judge(std::optional<v1::JobRecord::State> before) const {
  if (!before.has_value()) return Verdict::kMet;
  const v1::JobRecord::State state = *before;
  if (!is_terminal(state)) return Verdict::kWaits;
  switch (condition) {
    case Condition::kSucceeded:
      return state == v1::JobRecord::SUCCEEDED ? Verdict::kMet : Verdict::kHopeless;
    case Condition::kFailed:
      return state == v1::JobRecord::FAILED ? Verdict::kMet : Verdict::kHopeless;
    case Condition::kEnded:
      break;
  }
  return Verdict::kMet;
}

const char* Dependency::text() const {
  switch (condition) {
    case Condition::kSucceeded:
      return "to succeed";
    case Condition::kFailed:
      return "to fail";
    case Condition::kEnded:
      break;
  }
  return "to end";
}

Dependency dependency_of(absl::string_view entry) {
  Dependency dependency;
  if (absl::ConsumePrefix(&entry, "any:")) {
    dependency.condition = Dependency::Condition::kEnded;
  } else if (absl::ConsumePrefix(&entry, "failed:")) {
    dependency.condition = Dependency::Condition::kFailed;
  }
  (void)absl::ConsumePrefix(&entry, "jobs/");
  dependency.job_id = std::string(entry);
  return dependency;
}

}  // namespace galleon::server
