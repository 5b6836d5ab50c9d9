// Orders for jobs that are there: cancel, hold, release, requeue, delete, reprioritize.
#include <iostream>

#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "client/selection.h"
#include "client/tables.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

// One line for people, else the record.
std::string shown(const Remote& remote, const v1::JobRecord& record, const std::string& line) {
  if (remote.format != OutputFormat::kTable) return to_json(record);
  return absl::StrCat(record.job_id(), " ", line, "\n");
}

std::string state_line(const v1::JobRecord& record) {
  return absl::StrCat(v1::JobRecord::State_Name(record.state()), record.message().empty() ? "" : ": ",
                      printable(record.message()));
}

}  // namespace

int run_cancel(const Remote& remote, const Selection& selection, const std::string& reason) {
  JobClient client = client_of(remote);
  return order_each(remote, client, selection, {"cancel", live_states()},
                    [&](const std::string& name, const std::string& etag) -> absl::StatusOr<std::string> {
                      ASSIGN_OR_RETURN(const v1::JobRecord record, client.cancel_job(name, reason, etag));
                      return shown(remote, record, v1::JobRecord::State_Name(record.state()));
                    });
}

int run_hold(const Remote& remote, const Selection& selection, const std::string& reason, bool preempt) {
  JobClient client = client_of(remote);
  std::vector<v1::JobRecord::State> states = {v1::JobRecord::QUEUED, v1::JobRecord::PREEMPTING};
  if (preempt) states.insert(states.end(), {v1::JobRecord::RESERVED, v1::JobRecord::STARTING, v1::JobRecord::RUNNING});
  return order_each(remote, client, selection, {"hold", states},
                    [&](const std::string& name, const std::string& etag) -> absl::StatusOr<std::string> {
                      v1::HoldJobRequest request;
                      request.set_name(name);
                      request.set_etag(etag);
                      request.set_reason(reason);
                      request.set_preempt(preempt);
                      ASSIGN_OR_RETURN(const v1::JobRecord record, client.hold_job(request));
                      return shown(remote, record, absl::StrCat("held, ", state_line(record)));
                    });
}

int run_release(const Remote& remote, const Selection& selection) {
  JobClient client = client_of(remote);
  return order_each(remote, client, selection, {"release", live_states()},
                    [&](const std::string& name, const std::string& etag) -> absl::StatusOr<std::string> {
                      v1::ReleaseJobRequest request;
                      request.set_name(name);
                      request.set_etag(etag);
                      ASSIGN_OR_RETURN(const v1::JobRecord record, client.release_job(request));
                      return shown(remote, record, absl::StrCat("released, ", state_line(record)));
                    });
}

int run_requeue(const Remote& remote, const Selection& selection, const std::string& reason) {
  JobClient client = client_of(remote);
  return order_each(remote, client, selection,
                    {"requeue", {v1::JobRecord::RESERVED, v1::JobRecord::STARTING, v1::JobRecord::RUNNING}},
                    [&](const std::string& name, const std::string& etag) -> absl::StatusOr<std::string> {
                      v1::RequeueJobRequest request;
                      request.set_name(name);
                      request.set_etag(etag);
                      request.set_reason(reason);
                      ASSIGN_OR_RETURN(const v1::JobRecord record, client.requeue_job(request));
                      return shown(remote, record, state_line(record));
                    });
}

int run_delete(const Remote& remote, const Selection& selection, bool keep_checkpoints) {
  JobClient client = client_of(remote);
  return order_each(remote, client, selection, {"delete", ended_states()},
                    [&](const std::string& name, const std::string& etag) -> absl::StatusOr<std::string> {
                      v1::DeleteJobRequest request;
                      request.set_name(name);
                      request.set_etag(etag);
                      request.set_keep_checkpoints(keep_checkpoints);
                      ASSIGN_OR_RETURN(const v1::DeleteJobResponse response, client.delete_job(request));
                      if (remote.format != OutputFormat::kTable) return to_json(response);
                      const std::string& left = response.left_folder();
                      return absl::StrCat(name.substr(5), " deleted", left.empty() ? "" : "; left: ", printable(left),
                                          "\n");
                    });
}

int run_reprioritize(const Remote& remote, const Selection& selection, std::optional<int32_t> priority,
                     const std::string& queue) {
  JobClient client = client_of(remote);
  return order_each(remote, client, selection, {"reprioritize", live_states()},
                    [&](const std::string& name, const std::string& etag) -> absl::StatusOr<std::string> {
                      v1::ReprioritizeJobRequest request;
                      request.set_name(name);
                      request.set_etag(etag);
                      if (priority) request.set_priority(*priority);
                      request.set_queue(queue);
                      ASSIGN_OR_RETURN(const v1::JobRecord record, client.reprioritize_job(request));
                      return shown(remote, record,
                                   absl::StrCat("queue ", record.queue(), ", priority ", record.priority(), ": ",
                                                printable(record.message())));
                    });
}

}  // namespace galleon
