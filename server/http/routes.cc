#include "server/http/routes.h"

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "galleon/v1/groups.pb.h"
#include "galleon/v1/jobs.pb.h"
#include "galleon/v1/queues.pb.h"
#include "galleon/v1/workers.pb.h"
#include "server/http/url.h"

namespace galleon::server {

namespace {

constexpr char kJobs[] = "galleon.v1.JobService";
constexpr char kWorkers[] = "galleon.v1.WorkerService";
constexpr char kQueues[] = "galleon.v1.QueueService";
constexpr char kGroups[] = "galleon.v1.GroupService";

std::vector<Route> table() {
  using Answer = Route::Answer;
  std::vector<Route> all = {
      {"GET",
       "/v1/jobs",
       kJobs,
       "ListJobs",
       Answer::kMessage,
       nullptr,
       nullptr,
       {"page_size", "page_token", "states", "queue", "name_prefix", "contains", "owner", "labels", "created_after_ms",
        "job_id", "group"},
       {},
       "Jobs, the newest first"},
      {"GET", "/v1/jobs/{job}", kJobs, "GetJob", Answer::kMessage, "name", "jobs/", {}, {}, "A job"},
      {"GET",
       "/v1/jobs/{job}/attempts",
       kJobs,
       "ListAttempts",
       Answer::kMessage,
       "parent",
       "jobs/",
       {},
       {},
       "How its attempts went, the oldest first"},
      {"GET",
       "/v1/jobs/{job}/metrics",
       kJobs,
       "ReadMetrics",
       Answer::kMessage,
       "name",
       "jobs/",
       {"first_step", "last_step", "buckets", "series"},
       {},
       "Its metrics as series, thinned so that no spike is lost"},
      {"GET",
       "/v1/jobs/{job}/log",
       kJobs,
       "ReadLogs",
       Answer::kText,
       "name",
       "jobs/",
       {"attempt", "rank", "offset", "tail_lines"},
       {},
       "A part of the log of one rank"},
      {"GET",
       "/v1/jobs/{job}/log/follow",
       kJobs,
       "ReadLogs",
       Answer::kEvents,
       "name",
       "jobs/",
       {"attempt", "rank", "offset", "tail_lines"},
       {},
       "The log as it grows, until the attempt (attempt 0: the job) ends"},
      {"GET",
       "/v1/jobs/{job}/watch",
       kJobs,
       "WatchJob",
       Answer::kEvents,
       "name",
       "jobs/",
       {"after_revision"},
       {},
       "The job whenever it changes, with the events that led to it, until it ends"},
      {"POST",
       "/v1/jobs/{job}:cancel",
       kJobs,
       "CancelJob",
       Answer::kMessage,
       "name",
       "jobs/",
       {},
       {"etag", "reason"},
       "End it; its checkpoints stay"},
      {"POST",
       "/v1/jobs/{job}:hold",
       kJobs,
       "HoldJob",
       Answer::kMessage,
       "name",
       "jobs/",
       {},
       {"etag", "reason", "preempt"},
       "It does not start before it is released"},
      {"POST",
       "/v1/jobs/{job}:release",
       kJobs,
       "ReleaseJob",
       Answer::kMessage,
       "name",
       "jobs/",
       {},
       {"etag"},
       "Let a held job start"},
      {"POST",
       "/v1/jobs/{job}:resume",
       kJobs,
       "ResumeJob",
       Answer::kMessage,
       "name",
       "jobs/",
       {},
       {"etag"},
       "Queue a failed or cancelled job again, from its newest checkpoint"},
      {"GET",
       "/v1/events",
       kJobs,
       "WatchEvents",
       Answer::kEvents,
       nullptr,
       nullptr,
       {"subject", "after_revision", "from_now", "revision_only"},
       {},
       "Durable changes of jobs and workers as they come"},
      {"GET",
       "/v1/groups",
       kGroups,
       "ListGroups",
       Answer::kMessage,
       nullptr,
       nullptr,
       {"page_size", "page_token"},
       {},
       "Groups of jobs, the newest first"},
      {"GET", "/v1/groups/{group}", kGroups, "GetGroup", Answer::kMessage, "name", "groups/", {}, {}, "A group"},
      {"GET",
       "/v1/workers",
       kWorkers,
       "ListWorkers",
       Answer::kMessage,
       nullptr,
       nullptr,
       {"page_size", "page_token", "states"},
       {},
       "Workers with their slots"},
      {"GET", "/v1/workers/{worker}", kWorkers, "GetWorker", Answer::kMessage, "name", "workers/", {}, {}, "A worker"},
      {"GET",
       "/v1/queues",
       kQueues,
       "ListQueues",
       Answer::kMessage,
       nullptr,
       nullptr,
       {"page_size", "page_token"},
       {},
       "Queues with their shares"},
      {"GET", "/v1/queues/{queue}", kQueues, "GetQueue", Answer::kMessage, "name", "queues/", {}, {}, "A queue"},
      {"GET",
       "/v1/projects",
       kQueues,
       "ListProjects",
       Answer::kMessage,
       nullptr,
       nullptr,
       {"page_size", "page_token"},
       {},
       "What projects and their users have, beside what they may"},
  };
  for (Route& route : all) {
    const absl::string_view path = route.path;
    if (path == "/v1/jobs/{job}/log/follow") {
      route.id = "FollowLogs";
      route.fixed = {{"follow", "true"}};
    }
    if (path == "/v1/events") route.fixed = {{"follow", "true"}};
  }
  // Their descriptions are registered with their classes.
  (void)v1::JobRecord::descriptor();
  (void)v1::Group::descriptor();
  (void)v1::Queue::descriptor();
  (void)v1::Worker::descriptor();
  return all;
}

// Whether `path` is of this shape; then `segment` is what stands in its braces, still encoded.
bool is_of(absl::string_view shape, absl::string_view path, absl::string_view& segment) {
  const size_t open = shape.find('{');
  if (open == absl::string_view::npos) return shape == path;
  const absl::string_view before = shape.substr(0, open);
  const absl::string_view after = shape.substr(shape.find('}') + 1);
  if (!absl::StartsWith(path, before)) return false;
  path.remove_prefix(before.size());
  const size_t end = std::min(path.find_first_of("/:"), path.size());
  if (end == 0 || path.substr(end) != after) return false;
  segment = path.substr(0, end);
  return true;
}

}  // namespace

const google::protobuf::MethodDescriptor& Route::descriptor() const {
  return *google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service)->FindMethodByName(method);
}

std::string Route::grpc_method() const {
  return absl::StrCat("/", service, "/", method);
}

const std::vector<Route>& routes() {
  static const std::vector<Route>* const all = new std::vector<Route>(table());
  return *all;
}

absl::StatusOr<Matched> match(absl::string_view verb, absl::string_view path) {
  std::set<std::string> verbs;
  for (const Route& route : routes()) {
    absl::string_view segment;
    if (!is_of(route.path, path, segment)) continue;
    if (verb != route.verb) {
      verbs.insert(route.verb);
      continue;
    }
    absl::StatusOr<std::string> decoded = url_decoded(segment, false);
    if (!decoded.ok()) return decoded.status();
    return Matched{&route, *std::move(decoded)};
  }
  if (verbs.empty()) return absl::NotFoundError("nothing is served there; /openapi.json says what is where");
  return absl::UnimplementedError(absl::StrJoin(verbs, ", "));
}

}  // namespace galleon::server
