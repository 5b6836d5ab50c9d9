#include "worker/daemon/place_probe.h"

#include <filesystem>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/object_address.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"
#include "worker/daemon/allowed_tracking.h"
#include "worker/daemon/input_paths.h"

namespace galleon {

namespace {

constexpr uint64_t kLeastSpace = 1 << 20;

absl::Status check_trainer(const std::string& trainer) {
  const absl::StatusOr<CommandResult> said = run_command({trainer, "--version"}, absl::Minutes(1));
  const std::string start = absl::StrCat("the trainer ", trainer, " does not run here: ");
  if (!said.ok()) return absl::FailedPreconditionError(absl::StrCat(start, said.status().message()));
  if (said->timed_out) return absl::FailedPreconditionError(absl::StrCat(start, "it did not answer within a minute"));
  if (said->exit.code == 0 && said->exit.signal == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(start, said->exit.signal != 0 ? absl::StrCat("it was ended by signal ", said->exit.signal)
                                                 : absl::StrCat("it exits with ", said->exit.code)));
}

absl::Status check_roots(const std::vector<std::string>& roots) {
  for (const std::string& root : roots) {
    std::error_code error;
    if (is_address(root)) continue;
    std::filesystem::directory_iterator opened(root, error);
    if (error) return absl::FailedPreconditionError(absl::StrCat("--allow ", root, ": ", error.message()));
  }
  return absl::OkStatus();
}

absl::Status check_space(const std::string& folder) {
  const std::optional<DiskSpace> space = disk_space(folder);
  if (!space || space->free >= kLeastSpace) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("there is no space left in ", folder));
}

absl::Status check_own_folder(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/probe");
  RETURN_IF_ERROR(write_file_atomically(path, "probe"));
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  if (text == "probe") return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, " does not hold what was written to it"));
}

}  // namespace

absl::Status check_jobs_folder(const std::string& folder) {
  std::error_code error;
  if (std::filesystem::is_directory(folder, error)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the scheduler's folder of jobs, ", folder,
                   ", does not exist on this worker's machine; mount the same folder on both"));
}

absl::Status check_place(const PlaceOptions& options) {
  RETURN_IF_ERROR(check_roots(options.roots));
  if (!options.jobs_folder.empty()) {
    RETURN_IF_ERROR(check_jobs_folder(options.jobs_folder));
    RETURN_IF_ERROR(check_space(options.jobs_folder));
    const std::string full = options.jobs_disk == nullptr ? "" : options.jobs_disk->look();
    if (!full.empty()) return absl::ResourceExhaustedError(full);
  }
  RETURN_IF_ERROR(check_own_folder(options.data));
  return check_trainer(options.trainer);
}

v1::WorkerProbe probe_place(const PlaceOptions& options, const std::vector<FailedJob>& failed, uint64_t number) {
  v1::WorkerProbe probe;
  probe.set_number(number);
  probe.set_fault(std::string(check_place(options).message()));
  for (const FailedJob& one : failed) {
    const std::vector<std::string> roots = with_readable(options.roots, one.readable_folder);
    if (!check_input_paths(one.job, one.job_folder, roots, options.copies).ok() ||
        !check_tracking(one.job, options.trackers).ok() || !check_inputs_present(one.job).ok())
      probe.add_failing_job_ids(one.job_id);
  }
  return probe;
}

}  // namespace galleon
