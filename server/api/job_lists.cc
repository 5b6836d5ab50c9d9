#include "server/api/job_lists.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/api/job_requests.h"
#include "server/api/pages.h"
#include "server/core/ended_record.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr size_t kLargestPageBytes = 1 << 20;  // of an answer, which stays in memory until it is taken
// What one turn on the loop does: about a millisecond.
constexpr int kWorkInTurn = 4'000;       // jobs looked at
constexpr int kWorkOfLive = 100;         // one that is described costs as much as so many looked at
constexpr size_t kBytesOfEnded = 1'500;  // about, of one that was not unpacked yet

// Letters of either case.
bool is_in(absl::string_view text, absl::string_view part) {
  const auto same = [](char a, char b) { return absl::ascii_tolower(a) == absl::ascii_tolower(b); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end();
}

bool contains(const JobFacts& job, absl::string_view part) {
  for (const absl::string_view fact : {job.job_id, job.queue, job.owner, job.group}) {
    if (is_in(fact, part)) return true;
  }
  const auto label = [&](const auto& entry) { return is_in(absl::StrCat(entry.first, "=", entry.second), part); };
  if (job.job != nullptr) return std::any_of(job.job->labels().begin(), job.job->labels().end(), label);
  return job.packed_labels != nullptr && std::any_of(job.packed_labels->begin(), job.packed_labels->end(), label);
}

bool is_listed(const v1::ListJobsRequest& request, const JobFacts& job) {
  if (!request.job_id().empty() && job.job_id != request.job_id()) return false;
  if (!request.group().empty() && job.group != group_id_of(request.group())) return false;
  if (!request.queue().empty() && job.queue != request.queue()) return false;
  if (!request.owner().empty() && job.owner != request.owner()) return false;
  if (!absl::StartsWith(job.job_id, request.name_prefix())) return false;
  if (!request.contains().empty() && !contains(job, request.contains())) return false;
  if (job.create_time_ms < request.created_after_ms()) return false;
  if (!request.states().empty() &&
      std::find(request.states().begin(), request.states().end(), job.state) == request.states().end()) {
    return false;
  }
  return std::all_of(request.labels().begin(), request.labels().end(),
                     [&job](const auto& wanted) { return job.labelled(wanted.first, wanted.second); });
}

// One list while it is made.
struct Listing {
  const Unary call;
  Readers& readers;
  const v1::ListJobsRequest& request;
  v1::ListJobsResponse& response;
  size_t page = 0;
  uint64_t below = UINT64_MAX;  // jobs that have not been looked at
  // One of the two.
  struct Job {
    uint64_t number = 0;
    std::shared_ptr<const PackedJob> ended;
    v1::JobRecord live;
  };
  std::vector<Job> jobs;  // and one beyond the page, if there is one
  size_t bytes = 0;       // of them, about
  size_t weighed = 0;     // so many of which count as the caller's

  void weigh() {
    call.weighs(bytes - weighed);
    weighed = bytes;
  }
};

absl::Status begin(const Turn& turn, Listing& listing) {
  ASSIGN_OR_RETURN(const int page, page_size(listing.request.page_size()));
  listing.page = static_cast<size_t>(page);
  if (!listing.request.queue().empty()) RETURN_IF_ERROR(turn.scheduler.check_queue(listing.request.queue()));
  if (!listing.request.group().empty())
    RETURN_IF_ERROR(check_group_seen(turn, listing.call, group_id_of(listing.request.group())));
  const std::string& token = listing.request.page_token();
  if (!token.empty() && (!absl::SimpleAtoi(token, &listing.below) || listing.below == 0))
    return foreign_token(token, "ListJobs");
  return absl::OkStatus();
}

// On a thread of readers.
void write_out(Listing& listing, JobUnpacker& unpacker) {
  v1::ListJobsResponse& response = listing.response;
  size_t bytes = 0;
  v1::JobState job;
  for (Listing::Job& listed : listing.jobs) {
    const bool is_beyond = listed.ended == nullptr && listed.live.job_id().empty();
    if (is_beyond || bytes > kLargestPageBytes) break;
    v1::JobRecord& added = *response.add_jobs();
    if (listed.ended != nullptr) {
      unpacker.unpack(*listed.ended, job);
      added = ended_record(job);
    } else {
      added = std::move(listed.live);
    }
    bytes += added.ByteSizeLong();
    if (static_cast<size_t>(response.jobs_size()) < listing.jobs.size())
      response.set_next_page_token(absl::StrCat(listed.number));
    else
      response.clear_next_page_token();
  }
  listing.call.finish(absl::OkStatus());
}

// Goes through the jobs that may be listed, newest first: where states are asked for, through those that are in one.
class Candidates {
 public:
  // Of jobs below a number.
  Candidates(const State& state, const v1::ListJobsRequest& request, uint64_t below) : jobs_(state.jobs()) {
    if (request.states().empty()) {
      at_ = std::make_reverse_iterator(jobs_.lower_bound(below));
      return;
    }
    by_state_ = true;
    std::set<int> states(request.states().begin(), request.states().end());
    for (const int one : states) {
      const absl::btree_set<uint64_t>& numbers = state.in_state(static_cast<v1::JobRecord::State>(one));
      left_.push_back({std::make_reverse_iterator(numbers.lower_bound(below)), numbers.rend()});
    }
  }

  // Null: there are no more.
  const std::pair<const uint64_t, JobEntry>* next() {
    if (!by_state_) return at_ == jobs_.rend() ? nullptr : &*at_++;
    Numbers* newest = nullptr;
    for (Numbers& numbers : left_) {
      if (numbers.at != numbers.end && (newest == nullptr || *numbers.at > *newest->at)) newest = &numbers;
    }
    return newest == nullptr ? nullptr : &*jobs_.find(*newest->at++);
  }

 private:
  struct Numbers {
    absl::btree_set<uint64_t>::const_reverse_iterator at, end;
  };
  const std::map<uint64_t, JobEntry>& jobs_;
  std::map<uint64_t, JobEntry>::const_reverse_iterator at_;
  bool by_state_ = false;
  std::vector<Numbers> left_;
};

void pick(Turn& turn, const std::shared_ptr<Listing>& listing) {
  const State& state = turn.scheduler.state();
  int work = kWorkInTurn;
  Candidates candidates(state, listing->request, listing->below);
  while (listing->jobs.size() <= listing->page) {
    const auto* const candidate = candidates.next();
    if (candidate == nullptr) break;
    const auto& [number, entry] = *candidate;
    // What is gathered beyond is not written out, but for one that shows that there is more.
    const bool full = listing->bytes > kLargestPageBytes;
    if (--work <= 0) {
      // Others have their turn.
      listing->weigh();
      return listing->call.on_loop([listing](Turn& next) { pick(next, listing); });
    }
    listing->below = number;
    const JobFacts facts = entry.facts();
    if (!is_listed(listing->request, facts) || !listing->call.may(Role::kViewer, facts.project)) continue;
    Listing::Job& job = listing->jobs.emplace_back();
    job.number = number;
    if (full || listing->jobs.size() > listing->page) break;
    if (is_terminal(facts.state)) {
      job.ended = state.packed(entry);
      listing->bytes += kBytesOfEnded;
    } else {
      job.live = turn.scheduler.describe(*state.job_by_number(number), turn.now);
      listing->bytes += job.live.ByteSizeLong();
      work -= kWorkOfLive;
    }
  }
  listing->weigh();
  // What was decided in this round is not told before it is durable.
  turn.after_commit.push_back([listing] {
    listing->readers.post(listing->call.caller(), [listing](JobUnpacker& unpacker) { write_out(*listing, unpacker); });
  });
}

}  // namespace

void list_jobs(const Unary& call, Readers& readers, const v1::ListJobsRequest& request,
               v1::ListJobsResponse& response) {
  auto listing = std::make_shared<Listing>(Listing{call, readers, request, response});
  call.on_loop([listing](Turn& turn) {
    if (const absl::Status status = begin(turn, *listing); !status.ok()) return listing->call.finish(status);
    pick(turn, listing);
  });
}

}  // namespace galleon::server
