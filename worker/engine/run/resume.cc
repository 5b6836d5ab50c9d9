#include "worker/engine/run/resume.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/object_address.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/checkpoint_copies.h"
#include "worker/engine/ground/differing_lines.h"
#include "worker/engine/optim/schedule.h"
#include "worker/engine/run/left_checkpoint.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kContent = "data.train content: ";

std::string without_content(const std::string& mathematics) {
  std::vector<absl::string_view> lines = absl::StrSplit(mathematics, '\n');
  std::erase_if(lines, [](absl::string_view line) { return absl::StartsWith(line, kContent); });
  return absl::StrJoin(lines, "\n");
}

bool only_data_differs(const RunOptions& options, const std::string& before) {
  return before != options.mathematics && without_content(before) == without_content(options.mathematics);
}

bool same_mathematics(const RunOptions& options, const std::string& before) {
  return before == options.mathematics || (options.resume_with_changed_data && only_data_differs(options, before));
}

std::string content_of(absl::string_view mathematics) {
  const size_t begin = mathematics.find(kContent);
  if (begin == absl::string_view::npos) return "none";
  const absl::string_view rest = mathematics.substr(begin + kContent.size());
  return std::string(rest.substr(0, rest.find('\n')));
}

absl::Status check_compatible(const RunOptions& options, const CheckpointHeader& header, const std::string& folder) {
  if (header.job != options.name) {
    return absl::FailedPreconditionError(absl::StrCat(folder, " belongs to job \"", header.job, "\", not to \"",
                                                      options.name, "\"; choose another directory"));
  }
  const ScheduleOptions& schedule = options.optimizer.schedule;
  ScheduleOptions before = schedule;
  before.steps = header.schedule_steps;
  before.warmup_steps = header.warmup_steps;
  before.decay_steps = header.decay_steps;
  const bool wsd = schedule.type == ScheduleType::kWsd;
  if (wsd && header.decay_steps > 0 && !same_until(before, schedule, header.step)) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder, " is at step ", header.step, " of a schedule of ", header.schedule_steps, " steps with ",
                     header.warmup_steps, " of warm-up and ", header.decay_steps, " of decay, and this job's has ",
                     schedule.steps, " with ", schedule.warmup_steps, " and ", schedule.decay_steps,
                     ", by which earlier steps would have had other rates; a checkpoint from before both decays goes "
                     "on with either"));
  }
  if (!wsd && !same_until(before, schedule, header.step)) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder, " was trained on a schedule of ", header.schedule_steps, " steps with ",
                     header.warmup_steps, " of warm-up, and this job's has ", schedule.steps, " with ",
                     schedule.warmup_steps, "; set optimizer.schedule.steps: ", header.schedule_steps,
                     " and optimizer.schedule.warmup_steps: ", header.warmup_steps, " to go on with it"));
  }
  if (!same_mathematics(options, header.mathematics)) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder, " was trained by another computation: ",
                     differing_lines(header.mathematics, options.mathematics, "in the checkpoint", "now"),
                     "; restore these or choose another directory",
                     only_data_differs(options, header.mathematics)
                         ? ", or set checkpoint.resume_with_changed_data: true to go on with the data as it is now"
                         : ""));
  }
  return absl::OkStatus();
}

struct Found {
  std::string folder;  // empty: none
  std::string skipped;
};

// An explicit folder is taken or refused; nothing else will do.
absl::StatusOr<Found> explicit_folder(const RunOptions& options) {
  std::string folder = options.resume;
  if (is_address(folder)) {
    const std::string address = without_trailing_slashes(folder);
    folder = absl::StrCat(options.checkpoint_folder, "/.fetched/", address.substr(address.rfind('/') + 1));
    absl::Status fetched = fetch_checkpoint(options.resume, folder);
    if (!fetched.ok()) return absl::Status(fetched.code(), absl::StrCat("checkpoint.resume: ", fetched.message()));
  } else {
    RETURN_IF_ERROR(verify_checkpoint(folder, true));
  }
  return Found{folder, ""};
}

absl::StatusOr<Found> newest_sound(const std::string& folder, const ResumePoint& point) {
  std::vector<int64_t> steps = list_checkpoints(folder);
  Found found;
  std::string reason;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (point.recorded_only && *step > point.step) continue;
    const std::string path = absl::StrCat(folder, "/", step_folder_name(*step));
    const absl::Status sound = verify_checkpoint(path, true);
    if (sound.ok()) {
      found.folder = path;
      return found;
    }
    reason = std::string(sound.message());
    absl::StrAppend(&found.skipped, found.skipped.empty() ? "" : "; ", "step ", *step, " was set aside: ", reason);
    std::error_code error;
    fs::rename(path, absl::StrCat(folder, "/.damaged-", step_folder_name(*step)), error);
  }
  if (!reason.empty()) {
    return absl::DataLossError(absl::StrCat("no sound checkpoint is left in ", folder, " (", reason,
                                            "); start again with checkpoint.resume: never in a new directory"));
  }
  return found;
}

// The newest sound copy of checkpoint.copy_to, brought into the folder of checkpoints.
absl::StatusOr<Found> newest_copy(const RunOptions& options, const ResumePoint& point) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps, list_copies(options.checkpoint_copy_to));
  Found found;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (point.recorded_only && *step > point.step) continue;
    const std::string address = copy_address(options.checkpoint_copy_to, *step);
    const std::string path = absl::StrCat(options.checkpoint_folder, "/", step_folder_name(*step));
    const std::string pending = absl::StrCat(options.checkpoint_folder, "/.fetched/", step_folder_name(*step));
    const absl::Status fetched = fetch_checkpoint(address, pending);
    if (fetched.ok()) {
      std::error_code error;
      fs::rename(pending, path, error);
      if (error) return errno_status("cannot rename to", path, error.value());
      fs::remove(absl::StrCat(options.checkpoint_folder, "/.fetched"), error);
      absl::StrAppend(&found.skipped, found.skipped.empty() ? "" : "; ", "brought from ", address);
      found.folder = path;
      return found;
    }
    if (!absl::IsDataLoss(fetched)) return fetched;
    absl::StrAppend(&found.skipped, found.skipped.empty() ? "" : "; ", "the copy of step ", *step,
                    " was passed over: ", fetched.message());
  }
  if (!found.skipped.empty()) {
    return absl::DataLossError(absl::StrCat("no sound copy is left in ", options.checkpoint_copy_to, " (",
                                            found.skipped,
                                            "); start again with checkpoint.resume: never and another copy_to"));
  }
  return found;
}

// The newest that is sound, here or, where none is left here, among the copies.
absl::StatusOr<Found> newest(const RunOptions& options, const ResumePoint& point) {
  absl::StatusOr<Found> here = newest_sound(options.checkpoint_folder, point);
  if (options.checkpoint_copy_to.empty() || (here.ok() ? !here->folder.empty() : !absl::IsDataLoss(here.status())))
    return here;
  absl::StatusOr<Found> copy = newest_copy(options, point);
  return copy.ok() && copy->folder.empty() ? here : copy;
}

absl::StatusOr<Found> look(const RunOptions& options, const ResumePoint& point) {
  const std::string& folder = options.checkpoint_folder;
  RETURN_IF_ERROR(make_folders(folder));
  if (point.recorded_only) {
    // Nothing of this job is recorded yet: a folder that the job file names is where it begins.
    if (point.step == 0)
      return options.resume == "auto" || options.resume == "never" ? Found{} : explicit_folder(options);
    // Recorded, and its trainer died before the rename.
    std::error_code error;
    const bool renamed = fs::exists(absl::StrCat(folder, "/", step_folder_name(point.step)), error);
    if (!renamed && fs::exists(absl::StrCat(folder, "/", pending_folder_name(point.step, point.epoch)), error)) {
      RETURN_IF_ERROR(publish_checkpoint(folder, point.step, point.epoch));
    }
    absl::StatusOr<Found> found = newest(options, point);
    if (found.ok() && found->folder.empty()) {
      return absl::NotFoundError(absl::StrCat("the recorded checkpoint of step ", point.step, " is not in ", folder,
                                              "; is that folder shared by all workers?"));
    }
    return found;
  }
  if (options.resume == "auto") return newest(options, point);
  if (options.resume == "never") {
    const std::vector<int64_t> steps = list_checkpoints(folder);
    if (!steps.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat(folder, " already holds checkpoints up to step ", steps.back(),
                       ", and checkpoint.resume is never; choose another directory or resume: auto"));
    }
    return Found{};
  }
  return explicit_folder(options);
}

absl::StatusOr<Found> look_with_left(const RunOptions& options, ResumePoint point, uint64_t epoch,
                                     const PublicationGate& gate) {
  const auto usable = [&options](const CheckpointHeader& header) { return check_compatible(options, header, "").ok(); };
  ASSIGN_OR_RETURN(const int64_t left,
                   publish_left_checkpoint(options.checkpoint_folder, point.step, epoch, usable, gate));
  if (left > 0) {
    point.step = left;
    point.epoch = epoch;
  }
  return look(options, point);
}

}  // namespace

std::string data_change(const CheckpointHeader& header, const RunOptions& options) {
  if (header.mathematics == options.mathematics) return "";
  return absl::StrCat("from step ", header.step, ": data.train content ", content_of(header.mathematics), " became ",
                      content_of(options.mathematics));
}

absl::StatusOr<std::optional<ResumeChoice>> choose_checkpoint(const RunOptions& options, const ResumePoint& point,
                                                              uint64_t epoch, const PublicationGate& gate,
                                                              Communicator& communicator) {
  // Rank 0 tells "E code message" or "F folder\nskipped".
  std::string told;
  if (communicator.rank() == 0) {
    absl::StatusOr<Found> found =
        point.recorded_only ? look_with_left(options, point, epoch, gate) : look(options, point);
    absl::Status status = found.status();
    if (status.ok() && !found->folder.empty()) {
      absl::StatusOr<CheckpointHeader> header = read_checkpoint_header(found->folder);
      status = header.ok() ? check_compatible(options, *header, found->folder) : header.status();
    }
    told = status.ok() ? absl::StrCat("F", found->folder, "\n", found->skipped)
                       : absl::StrCat("E", static_cast<int>(status.code()), " ", status.message());
  }
  told = communicator.all_gather_text(told)[0];
  if (!communicator.status().ok()) return communicator.status();
  if (told.empty()) return absl::UnavailableError("rank 0 did not tell which checkpoint to use");
  if (told[0] == 'E') {
    int code = 0;
    const size_t space = told.find(' ');
    (void)absl::SimpleAtoi(told.substr(1, space - 1), &code);
    return absl::Status(static_cast<absl::StatusCode>(code), told.substr(space + 1));
  }
  const size_t line = told.find('\n');
  ResumeChoice choice;
  choice.folder = told.substr(1, line - 1);
  choice.skipped = told.substr(line + 1);
  if (choice.folder.empty()) return std::optional<ResumeChoice>();
  absl::StatusOr<CheckpointHeader> header = read_checkpoint_header(choice.folder);
  if (!header.ok()) {
    return absl::NotFoundError(absl::StrCat("rank ", communicator.rank(),
                                            " cannot see the checkpoint that rank 0 chose (", header.status().message(),
                                            "); the checkpoint directory must be shared by all ranks"));
  }
  choice.header = *header;
  return std::optional<ResumeChoice>(std::move(choice));
}

}  // namespace galleon
