#include "worker/engine/run/tensorboard_file.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/append_file.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr absl::string_view kPrefix = "events.out.tfevents.";

// The seconds in the name of the newest file; 0: there is none.
absl::StatusOr<int64_t> newest_seconds(const std::string& folder) {
  std::error_code error;
  int64_t newest = 0;
  for (auto entry = std::filesystem::directory_iterator(folder, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    int64_t seconds = 0;
    if (absl::StartsWith(name, kPrefix) && absl::SimpleAtoi(name.substr(kPrefix.size(), 10), &seconds))
      newest = std::max(newest, seconds);
  }
  if (error) return errno_status("cannot list", folder, error.value());
  return newest;
}

}  // namespace

absl::StatusOr<TensorboardFile> TensorboardFile::open(const std::string& folder, int64_t step,
                                                      const RunOptions& options, Clock clock) {
  RETURN_IF_ERROR(make_folders(folder));
  ASSIGN_OR_RETURN(const int64_t newest, newest_seconds(folder));
  // Files are read in the order of their names. Two attempts may begin in one second, and clocks go back.
  const int64_t seconds = std::max(absl::ToUnixSeconds(clock()), newest + 1);
  const std::string path = absl::StrCat(folder, "/", kPrefix, absl::StrFormat("%010d", seconds), ".galleon");
  TensorboardFile file(path, options.optimizer.galore.has_value(), std::move(clock));
  const double now = file.now();
  RETURN_IF_ERROR(file.append_records(framed_record(first_event(now)) +
                                      framed_record(start_event(now, step > 0 ? step + 1 : 0)) +
                                      framed_record(hyperparameters_event(now, options.hyperparameters))));
  return file;
}

absl::Status TensorboardFile::append(const StepLine& line) {
  return append_line(line.step, metrics_json(line));
}

absl::Status TensorboardFile::append(const EvaluationLine& line) {
  return append_line(line.step, metrics_json(line));
}

absl::Status TensorboardFile::append_line(int64_t step, const nlohmann::ordered_json& line) {
  return append_records(framed_record(scalars_event(now(), step, scalars_of(line, subspaces_))));
}

absl::Status TensorboardFile::finish() {
  return append_records(framed_record(finished_event(now())));
}

double TensorboardFile::now() const {
  return absl::ToDoubleSeconds(clock_() - absl::UnixEpoch());
}

absl::Status TensorboardFile::append_records(const std::string& records) {
  return append_file(path_, records);
}

}  // namespace galleon
