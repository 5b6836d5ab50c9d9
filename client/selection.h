// Which jobs a command is about: those that are named, or those of which something is true.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "galleon/v1/jobs.pb.h"

namespace galleon {

class JobClient;
struct Remote;

struct Selection {
  std::vector<std::string> jobs = {};  // by name; then nothing below
  std::vector<std::string> states = {};
  std::string queue = {};
  std::string owner = {};
  std::vector<std::string> labels = {};  // "KEY=VALUE", all of them
  std::string group = {};
  bool all = false;  // every job
  bool yes = false;  // does not ask

  bool by_name() const { return !jobs.empty(); }
};

// What an order is called and which states it takes; empty: every one.
struct OrderWords {
  std::string verb;  // "cancel"
  std::vector<v1::JobRecord::State> states;
};

// Is it any of the filters?
bool selects_by_filters(const Selection& selection);
// The filters as a request. INVALID_ARGUMENT names the option.
absl::StatusOr<v1::ListJobsRequest> list_request(const Selection& selection);
std::vector<v1::JobRecord::State> live_states();
std::vector<v1::JobRecord::State> ended_states();

// The selected jobs. With names these alone, as they are given, with no more than a name; of a group that is named
// those of its jobs that the order takes, whole. INVALID_ARGUMENT: both names and filters, or neither; NOT_FOUND:
// nothing is selected, or no such group.
absl::StatusOr<std::vector<v1::JobRecord>> select_jobs(JobClient& client, const Selection& selection,
                                                       const OrderWords& order);

// Asks a person; where none is there the answer is no.
bool agreed(const std::string& question);

// Gives the order to each selected job: to those that were selected by what is true of them only as long as it is.
// `give` is told the job's name and etag (empty: whatever it is), and answers with what is to be printed: a line for
// people, else JSON. Asks before it orders something of jobs that are not named. The exit code.
int order_each(
    const Remote& remote, JobClient& client, const Selection& selection, const OrderWords& order,
    const std::function<absl::StatusOr<std::string>(const std::string& name, const std::string& etag)>& give);

}  // namespace galleon
