// Files that come with a job: they wait beside the jobs' folders until the job is there, and then lie in its own. Files
// that no job came for are removed after a day.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/jobs.pb.h"
#include "server/api/job_folders.h"

namespace galleon::server {

inline constexpr uint64_t kMostAttachedBytes = uint64_t{32} << 20;
inline constexpr int kMostAttachedFiles = 32;

// INVALID_ARGUMENT: a name or a sum that is not accepted, or a path "attached:NAME" of which no file was sent.
absl::Status check_attached(const v1::Job& job);
// The job with its paths "attached:NAME" below `folder`.
v1::Job with_attached_below(v1::Job job, absl::string_view folder);
// Where a job's files lie in its own folder.
std::string attached_folder_of(absl::string_view job_folder);

class Attachments {
 public:
  // `folders` outlives this; its thread does all that touches files.
  Attachments(std::string jobs_folder, JobFolders* folders);

  // Where the files of a request wait. Nobody else's request has the same.
  std::string waiting_folder(absl::string_view caller, absl::string_view request_id) const;
  // Takes a piece. `done` is called once: on the thread of the folders, or at once.
  using Taken = std::function<void(const absl::StatusOr<uint64_t>& bytes)>;
  void take(absl::string_view caller, const v1::AttachFileRequest& request, const Taken& done);
  // Whether all of the job's files are there, whole. FAILED_PRECONDITION names one that is not.
  using Checked = std::function<void(const absl::Status&)>;
  void check(absl::string_view caller, absl::string_view request_id, const v1::Job& job, Checked done);
  // Moves the files into the folder of the job that has come for them, before any attempt at it begins. What has been
  // moved already is no error.
  void hand_over(absl::string_view caller, absl::string_view request_id, const std::string& job_folder);
  // Removes what has waited for more than a day.
  void sweep();
  // Ends the calls that wait with UNAVAILABLE, and refuses new ones.
  void shut_down();

 private:
  struct Open;
  void post(std::function<absl::StatusOr<uint64_t>()> work, const Taken& done);

  const std::string waiting_;  // folder of all that waits
  JobFolders* folders_;
  const std::shared_ptr<Open> open_;
};

}  // namespace galleon::server
