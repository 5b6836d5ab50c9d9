#include "worker/daemon/model_reader.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/bounded_text.h"
#include "common/base/files.h"
#include "common/base/landlock.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"
#include "worker/daemon/allowed_tracking.h"
#include "worker/daemon/confinement.h"
#include "worker/daemon/input_paths.h"

namespace galleon {

namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kMostMemory = 0;  // their shadows take terabytes of addresses
#else
constexpr uint64_t kMostMemory = uint64_t{8} << 30;
#endif
constexpr uint64_t kErrorTail = 4096;
constexpr size_t kLargestShape = 48 << 10;
constexpr char kNoJob[] = "/.new";  // no job's name begins with a point

// Folders beside --allow that this job may read.
std::vector<std::string> roots_of(const v1::ResolveOrder& order, const RankOptions& options) {
  return with_readable(with_readable(options.roots, order.readable_folder()), order.attached_folder());
}

// Whether this machine has what the job names, and jobs may read it here.
absl::Status check_here(const v1::ResolveOrder& order, const RankOptions& options) {
  const v1::Job& job = order.job();
  RETURN_IF_ERROR(check_input_paths(job, absl::StrCat(options.jobs_folder, kNoJob), roots_of(order, options),
                                    options.copies, false));
  RETURN_IF_ERROR(check_tracking(job, options.trackers));
  return check_inputs_present(job);
}

Confinement confinement_of(const v1::ResolveOrder& order, const RankOptions& options) {
  Confinement confinement{roots_of(order, options), {}, options.trainer_user};
  confinement.reads.insert(confinement.reads.end(), options.copies.begin(), options.copies.end());
  if (!options.cache.empty()) confinement.writes.push_back(options.cache);
  return confinement;
}

// The trainer gets the job open, and answers in a file that it cannot see.
absl::StatusOr<ProcessId> start_trainer(const v1::ResolveOrder& order, const RankOptions& options,
                                        const std::string& base) {
  RETURN_IF_ERROR(write_file_atomically(base + ".job", order.job().SerializeAsString()));
  const FileDescriptor job(::open((base + ".job").c_str(), O_RDONLY | O_CLOEXEC));
  if (!job.valid()) return errno_status("cannot open", base + ".job", errno);
  const Confinement confinement = confinement_of(order, options);
  ProcessOptions process;
  process.command = {options.trainer, "--resolve-fd", absl::StrCat(job.get())};
  for (const std::string& word : confinement.options()) process.command.push_back(word);
  process.kept = {job.get()};
  process.stdout_path = base + ".out";
  process.stderr_path = base + ".err";
  process.die_with_parent = true;
  process.most_memory = kMostMemory;
  process.most_cpu_seconds = static_cast<uint64_t>(absl::ToInt64Seconds(kPatience));
  if (!options.trainer_user.empty()) {
    ASSIGN_OR_RETURN(process.user, find_user(options.trainer_user));
  }
  absl::StatusOr<FileDescriptor> ruleset = make_ruleset(file_rules(confinement, options.trainer));
  if (!ruleset.ok() && !absl::IsUnimplemented(ruleset.status())) return ruleset.status();
  if (ruleset.ok()) process.ruleset = ruleset->get();
  return start_process(process);
}

// INVALID_ARGUMENT: what the trainer says of the job.
absl::StatusOr<v1::ModelShape> answer_of(const ProcessExit& exit, const std::string& base) {
  if (exit.signal != 0)
    return absl::InternalError(absl::StrCat("the trainer that read the model was ended by signal ", exit.signal));
  if (exit.code != 0) {
    const std::string said(absl::StripAsciiWhitespace(read_file_tail(base + ".err", kErrorTail).value_or("")));
    return absl::InvalidArgumentError(said.empty() ? absl::StrCat("the trainer exits with ", exit.code) : said);
  }
  ASSIGN_OR_RETURN(const std::string answer, read_file(base + ".out"));
  v1::Job job;
  if (!job.ParseFromString(answer) || !job.has_shape())
    return absl::InternalError("the trainer answered with something else than a job");
  if (job.shape().ByteSizeLong() > kLargestShape) {
    return absl::InvalidArgumentError(absl::StrCat("model.source: its config.json comes to more than ", kLargestShape,
                                                   " bytes, which is no model's"));
  }
  return job.shape();
}

}  // namespace

ModelReader::~ModelReader() {
  ending_ = true;
}

void ModelReader::update(const google::protobuf::RepeatedPtrField<v1::ResolveOrder>& orders, const RankOptions& options,
                         const std::function<void()>& done) {
  std::erase_if(orders_, [&orders](const auto& entry) {
    return std::none_of(orders.begin(), orders.end(),
                        [&entry](const v1::ResolveOrder& order) { return order.number() == entry.first; });
  });
  for (const v1::ResolveOrder& order : orders) {
    if (!orders_.emplace(order.number(), std::nullopt).second) continue;
    lane_.post([this, order, options, done] {
      v1::Resolved resolved = read(order, options);
      inbox_.post([this, resolved = std::move(resolved), done] {
        const auto it = orders_.find(resolved.number());
        if (it == orders_.end()) return;
        it->second = resolved;
        done();
      });
    });
  }
}

void ModelReader::tell(v1::SyncWorkerRequest& request) const {
  for (const auto& [number, resolved] : orders_) {
    if (resolved) *request.add_resolved() = *resolved;
  }
}

absl::StatusOr<ProcessExit> ModelReader::wait_for(const ProcessId& trainer) const {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!ending_ && absl::Now() < deadline) {
    ASSIGN_OR_RETURN(const std::optional<ProcessExit> exit, wait_process(trainer.pid, absl::Milliseconds(50)));
    if (exit) return *exit;
  }
  signal_process_group(trainer, SIGKILL);
  (void)wait_process(trainer.pid, absl::Seconds(5));
  if (ending_) return absl::UnavailableError("the worker shuts down");
  return absl::DeadlineExceededError(absl::StrCat("the model was not read within ", absl::FormatDuration(kPatience)));
}

absl::StatusOr<v1::ModelShape> ModelReader::shape_of(const v1::ResolveOrder& order, const RankOptions& options) const {
  RETURN_IF_ERROR(check_here(order, options));
  RETURN_IF_ERROR(make_folders(folder_));
  const std::string base = absl::StrCat(folder_, "/", order.number());
  const absl::Cleanup remove = [&base] {
    for (const char* suffix : {".job", ".out", ".err"}) ::unlink((base + suffix).c_str());
  };
  ASSIGN_OR_RETURN(const ProcessId trainer, start_trainer(order, options, base));
  ASSIGN_OR_RETURN(const ProcessExit exit, wait_for(trainer));
  return answer_of(exit, base);
}

v1::Resolved ModelReader::read(const v1::ResolveOrder& order, const RankOptions& options) const {
  v1::Resolved resolved;
  resolved.set_number(order.number());
  if (absl::StatusOr<v1::ModelShape> shape = shape_of(order, options); shape.ok()) {
    *resolved.mutable_shape() = *std::move(shape);
  } else {
    resolved.set_error(bounded_text(shape.status().message()));
    // Another worker may be allowed more, have what is missing here, or do better.
    resolved.set_place(!absl::IsInvalidArgument(shape.status()));
  }
  return resolved;
}

}  // namespace galleon
