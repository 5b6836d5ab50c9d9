// What a journal holds, for tests of stores.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/store/journal.h"

namespace galleon::server {

struct Contents {
  std::optional<v1::StateSnapshot> head;
  std::vector<v1::JobState> jobs;
  std::vector<uint64_t> numbers;  // of the jobs whose creation follows
  absl::Status status;
};

inline Contents contents(Journal& journal) {
  Contents found;
  found.status = journal.load({
      [&](const v1::StateSnapshot& head) { found.head = head; },
      [&](absl::string_view body) { return found.jobs.emplace_back().ParseFromString(std::string(body)); },
      [&](const v1::JournalEvent& event) { found.numbers.push_back(event.job_created().number()); },
  });
  return found;
}

inline v1::JournalEvent event(uint64_t number) {
  v1::JournalEvent made;
  made.set_time_ms(static_cast<int64_t>(1000 + number));
  made.mutable_job_created()->set_number(number);
  made.mutable_job_created()->set_job_id(absl::StrCat("job-", number));
  made.mutable_job_created()->mutable_job()->set_name("job");
  return made;
}

inline v1::JobState job_state(uint64_t number, uint64_t revision) {
  v1::JobState job;
  job.set_number(number);
  job.set_revision(revision);
  return job;
}

}  // namespace galleon::server
