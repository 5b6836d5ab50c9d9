#include "client/slurm_ranks.h"

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/net/own_address.h"

namespace galleon {

namespace {

constexpr double kMeetWithin = 600;  // nodes do not start at the same moment
constexpr size_t kNamedNodes = 16;

absl::Status contradicts(absl::string_view what, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(what, " contradicts srun, ", why, "; leave it out"));
}

bool is_loopback(const std::string& address) {
  return absl::StartsWith(address, "127.") || address == "::1";
}

std::string with_port(const std::string& host) {
  return absl::StrContains(host, ':') ? absl::StrCat("[", host, "]:1") : absl::StrCat(host, ":1");
}

// The address by which the other nodes reach this one: that from which it would reach them.
absl::StatusOr<std::string> address_for_others(const SlurmTask& task) {
  std::vector<std::string> ways;
  for (const std::string& node : task.nodes) {
    if (node != task.node) ways.push_back(node);
    if (ways.size() == 2) break;
  }
  if (!task.launcher.empty()) ways.push_back(task.launcher);
  std::string tried;
  for (const std::string& way : ways) {
    const absl::StatusOr<std::string> own = own_address_towards(with_port(way));
    if (own.ok() && !is_loopback(*own)) return own;
    absl::StrAppend(&tried, tried.empty() ? "" : ", ", way, ": ",
                    own.ok() ? absl::StrCat(*own, " is loopback") : std::string(own.status().message()));
  }
  return absl::InvalidArgumentError(absl::StrCat("which address the other nodes reach ", task.node,
                                                 " at is not known (", tried,
                                                 "); --interface names an interface, such as ib0, or an address"));
}

}  // namespace

std::string process_variables(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value != nullptr ? value : "";
}

absl::Status check_slurm_options(const TrainArguments& arguments, const v1::Job& job, const SlurmTask& task) {
  const std::string started = absl::StrCat("which has started ", task.ranks, " tasks");
  if (arguments.ranks > 0 && arguments.ranks != task.ranks)
    return contradicts(absl::StrCat("--ranks ", arguments.ranks), started);
  // One rank is what a job file has that says nothing.
  if (job.parallel().ranks() != 1 && static_cast<int>(job.parallel().ranks()) != task.ranks)
    return contradicts(absl::StrCat("parallel.ranks: ", job.parallel().ranks()), started);
  if (!arguments.here.empty())
    return contradicts(absl::StrCat("--here ", arguments.here), absl::StrCat("where this is rank ", task.rank));
  if (!arguments.meet.empty())
    return contradicts(absl::StrCat("--meet ", arguments.meet), "under which ranks meet in the output folder");
  if (!arguments.secret_file.empty())
    return contradicts("--secret-file", "under which ranks meet in the output folder");
  return absl::OkStatus();
}

absl::StatusOr<LocalRanks> slurm_ranks(const TrainArguments& arguments, const std::string& output,
                                       const SlurmTask& task) {
  LocalRanks ranks;
  ranks.ranks = task.ranks;
  ranks.first = task.rank;
  ranks.count = 1;
  const GpuShare share = gpu_share(task);
  ranks.gpu = share.number;
  ranks.sharing_gpus = share.count;
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  ranks.threads = arguments.threads > 0 ? arguments.threads
                  : task.threads > 0    ? std::min(task.threads, cores)
                                        : std::max(1, cores / task.local_ranks);
  ranks.meeting = absl::StrCat(output, "/.slurm-", task.job, ".", task.step, "-", task.restart);
  ranks.own_meeting = task.rank == 0;
  ranks.meet_within = arguments.meet_within > 0 ? arguments.meet_within : kMeetWithin;
  ranks.interface = arguments.interface;
  if (ranks.interface.empty() && task.nodes.size() > 1) {
    ASSIGN_OR_RETURN(ranks.interface, address_for_others(task));
  }
  return ranks;
}

void heed_time_limit(const SlurmTask& task, absl::Time now, LocalRanks& ranks) {
  ranks.train_until = training_end(task, now);
  ranks.until_reason = absl::StrCat("the time limit of Slurm's job ", task.job, " is near");
  ranks.patient = true;
}

std::string slurm_lines(const SlurmTask& task, const LocalRanks& ranks) {
  const std::string own = absl::StrCat("slurm: rank ", task.rank, " of ", ranks.ranks, " on ", task.node,
                                       ranks.interface.empty() ? "" : absl::StrCat(" at ", ranks.interface), ", ",
                                       ranks.threads, ranks.threads == 1 ? " thread" : " threads", "\n");
  if (task.rank != 0) return own;
  const size_t named = std::min(kNamedNodes, task.nodes.size());
  std::string text = absl::StrCat(
      "slurm: job ", task.job, " step ", task.step, ", ", task.ranks, task.ranks == 1 ? " task" : " tasks", " on ",
      absl::StrJoin(task.nodes.begin(), task.nodes.begin() + static_cast<ptrdiff_t>(named), " "),
      named < task.nodes.size() ? absl::StrCat(" and ", task.nodes.size() - named, " more nodes") : "",
      task.restart > 0 ? absl::StrCat(", requeued ", task.restart, task.restart == 1 ? " time" : " times") : "", "\n");
  if (task.end.has_value()) {
    const absl::TimeZone zone = absl::LocalTimeZone();
    absl::StrAppend(&text, "slurm: time limit at ", absl::FormatTime("%Y-%m-%d %H:%M:%S", *task.end, zone),
                    ", a checkpoint is saved from ", absl::FormatTime("%H:%M:%S", ranks.train_until, zone), " on\n");
  } else {
    absl::StrAppend(&text, "slurm: no time limit is known (SLURM_JOB_END_TIME)\n");
  }
  return absl::StrCat(text, own);
}

}  // namespace galleon
