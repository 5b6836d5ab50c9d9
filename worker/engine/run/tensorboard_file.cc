#include "worker/engine/run/tensorboard_file.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/files.h"
#include "common/base/reach.h"
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

Scalars scalars_of(const StepLine& line, bool subspaces) {
  Scalars scalars = {{"train/loss", line.loss},
                     {"train/learning_rate", line.learning_rate},
                     {"train/gradient_norm", line.grad_norm},
                     {"train/tokens", static_cast<double>(line.tokens)},
                     {"throughput/tokens_per_second", line.tokens_per_second},
                     {"throughput/data_wait_seconds", line.data_wait_seconds}};
  int64_t total = 0;
  for (int i = 0; i < kMemoryCategories; ++i) {
    total += line.memory[i];
    scalars.emplace_back(absl::StrCat("memory/", category_name(static_cast<MemoryCategory>(i))),
                         static_cast<double>(line.memory[i]));
  }
  scalars.emplace_back("memory/total", static_cast<double>(total));
  scalars.emplace_back("memory/peak", static_cast<double>(line.memory_peak));
  if (!line.waited_seconds.empty()) scalars.emplace_back("ranks/sent_bytes", static_cast<double>(line.sent.total()));
  if (line.bad_rows > 0) scalars.emplace_back("data/bad_rows", static_cast<double>(line.bad_rows));
  if (!subspaces) return scalars;
  scalars.emplace_back("subspaces/refreshed", static_cast<double>(line.refreshed));
  scalars.emplace_back("subspaces/skipped_refreshes", static_cast<double>(line.skipped_refreshes));
  scalars.emplace_back("subspaces/refresh_seconds", line.refresh_seconds);
  // Zero until a second basis can be compared with a first.
  if (line.subspace_overlap > 0) scalars.emplace_back("subspaces/overlap", line.subspace_overlap);
  if (line.captured_energy > 0) scalars.emplace_back("subspaces/captured_energy", line.captured_energy);
  return scalars;
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
  RETURN_IF_ERROR(
      file.append_records(framed_record(first_event(now)) + framed_record(start_event(now, step > 0 ? step + 1 : 0)) +
                          framed_record(hyperparameters_event(now, options.name, options.hyperparameters))));
  return file;
}

absl::Status TensorboardFile::append(const StepLine& line) {
  return append_records(framed_record(scalars_event(now(), line.step, scalars_of(line, subspaces_))));
}

absl::Status TensorboardFile::append(const EvaluationLine& line) {
  Scalars scalars = {{"validation/loss", line.validation_loss}, {"validation/perplexity", line.perplexity()}};
  for (const auto& [name, value] : line.metrics) scalars.emplace_back(absl::StrCat("validation/", name), value);
  return append_records(framed_record(scalars_event(now(), line.step, scalars)));
}

absl::Status TensorboardFile::finish() {
  return append_records(framed_record(finished_event(now())));
}

double TensorboardFile::now() const {
  return absl::ToDoubleSeconds(clock_() - absl::UnixEpoch());
}

absl::Status TensorboardFile::append_records(const std::string& records) {
  ASSIGN_OR_RETURN(const FileDescriptor file, open_to_write(path_, O_WRONLY | O_CREAT | O_APPEND));
  return write_all(file.get(), records);
}

}  // namespace galleon
