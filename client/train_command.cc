// `galleon train`: ranks on this machine, by its options or by what Slurm says of the task that it is.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/commands.h"
#include "client/local_run.h"
#include "client/slurm_ranks.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {

namespace {

// As sysexits.h has it, "try again later": under Slurm a batch script tells by it whether to requeue.
constexpr int kStoppedUnderSlurm = 75;

int usable_cores() {
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

// A word of a command as a shell takes it.
std::string shell_word(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || std::strchr("_-./:=,+@%", c) != nullptr;
  });
  return plain ? word : absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

// Continues a run; the same number of threads, so that it goes on bit for bit.
std::string resume_command(const TrainArguments& arguments) {
  return absl::StrCat(
      "galleon train ", shell_word(arguments.job), " --output ", shell_word(arguments.output),
      arguments.ranks > 0 ? absl::StrCat(" --ranks ", arguments.ranks) : "",
      arguments.threads > 0 ? absl::StrCat(" --threads ", arguments.threads) : "",
      arguments.here.empty() ? "" : absl::StrCat(" --here ", arguments.here),
      arguments.meet.empty() ? "" : absl::StrCat(" --meet ", shell_word(arguments.meet)),
      arguments.secret_file.empty() ? "" : absl::StrCat(" --secret-file ", shell_word(arguments.secret_file)),
      arguments.interface.empty() ? "" : absl::StrCat(" --interface ", arguments.interface));
}

// Which ranks --here and its companions put on this machine.
absl::Status place_by_options(const TrainArguments& arguments, LocalRanks& ranks) {
  ranks.count = ranks.ranks;
  if (arguments.here.empty()) {
    if (!arguments.meet.empty())
      return absl::InvalidArgumentError("--meet needs --here: which ranks run on this machine");
    return absl::OkStatus();
  }
  const std::vector<std::string> ends = absl::StrSplit(arguments.here, '-');
  int first = -1;
  int last = -1;
  if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last) ||
      first < 0 || last < first || last >= ranks.ranks) {
    return absl::InvalidArgumentError(absl::StrCat("--here ", arguments.here, ": ranks from 0 to ", ranks.ranks - 1,
                                                   " are accepted, such as 0 or 0-1; see --ranks"));
  }
  const bool all = first == 0 && last == ranks.ranks - 1;
  if (!all && arguments.meet.empty())
    return absl::InvalidArgumentError("--here needs --meet: a folder that the machines share, or HOST:PORT");
  if (!all && arguments.interface.empty()) {
    return absl::InvalidArgumentError(
        "--here needs --interface: the interface or address of this machine that the others reach it at");
  }
  ranks.first = first;
  ranks.count = last - first + 1;
  return absl::OkStatus();
}

// `output`: an absolute path.
absl::StatusOr<LocalRanks> local_ranks(const TrainArguments& arguments, const std::string& output, int ranks) {
  LocalRanks local;
  local.ranks = ranks;
  RETURN_IF_ERROR(place_by_options(arguments, local));
  local.sharing_gpus = local.count;
  local.threads = arguments.threads > 0 ? arguments.threads : std::max(1, usable_cores() / local.count);
  local.own_meeting = arguments.meet.empty();
  local.meeting = local.own_meeting ? absl::StrCat(output, "/.rendezvous-", random_hex(4)) : arguments.meet;
  local.meet_within = arguments.meet_within > 0 ? arguments.meet_within : (local.own_meeting ? 60 : 600);
  local.secret_file = arguments.secret_file;
  local.interface = arguments.interface;
  return local;
}

std::string absolute_path(const std::string& path) {
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error).lexically_normal().string();
  while (absolute.size() > 1 && absolute.back() == '/') absolute.pop_back();
  return absolute;
}

void print_done(const v1::Finished& finished, const std::string& output) {
  // A run that was complete before trained nothing now.
  std::cout << (finished.train_loss() > 0
                    ? absl::StrFormat("done: %d steps, training loss %.4f", finished.step(), finished.train_loss())
                    : absl::StrFormat("done: %d steps, all of them in an earlier run", finished.step()));
  if (finished.has_evaluation()) {
    std::cout << absl::StrFormat(", validation loss %.4f (perplexity %.2f)", finished.evaluation().validation_loss(),
                                 finished.evaluation().perplexity());
  }
  if (finished.bad_rows() > 0) std::cout << ", " << finished.bad_rows() << " bad rows skipped";
  std::cout << "\ncheckpoints and metrics.jsonl are in " << output << "\n";
}

}  // namespace

int run_train(const TrainArguments& arguments) {
  absl::StatusOr<v1::Job> job = load_job_file(arguments.job);
  if (!job.ok()) return fail(std::string(job.status().message()));
  const absl::StatusOr<std::optional<SlurmTask>> slurm = slurm_task(process_variables);
  if (!slurm.ok()) return fail(std::string(slurm.status().message()));
  const bool shared = slurm->has_value() && (*slurm)->ranks > 1;
  if (shared) {
    if (absl::Status s = check_slurm_options(arguments, *job, **slurm); !s.ok()) return fail(std::string(s.message()));
    job->mutable_parallel()->set_ranks((*slurm)->ranks);
  } else if (arguments.ranks > 0) {
    job->mutable_parallel()->set_ranks(arguments.ranks);
  }
  if (absl::Status s = validate_job(*job); !s.ok()) return fail(std::string(s.message()));
  const std::string output = absolute_path(arguments.output);
  absl::StatusOr<LocalRanks> ranks = shared ? slurm_ranks(arguments, output, **slurm)
                                            : local_ranks(arguments, output, static_cast<int>(job->parallel().ranks()));
  if (!ranks.ok()) return fail(std::string(ranks.status().message()));
  if (slurm->has_value()) {
    heed_time_limit(**slurm, absl::Now(), *ranks);
    std::cout << slurm_lines(**slurm, *ranks) << std::flush;
  }

  catch_stop_signals();
  const bool speaks = ranks->first == 0;  // for all, where Slurm shows what each task prints
  LocalRun run(output, *job, *ranks);
  if (absl::Status s = run.start(); !s.ok()) return fail(std::string(s.message()));
  {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> nowhere(shared && !speaks ? std::fopen("/dev/null", "w") : nullptr,
                                                            std::fclose);
    std::FILE* out = nowhere != nullptr ? nowhere.get() : stdout;
    ProgressView view(out, is_terminal_output(out), job->name());
    run.follow(view);
  }
  const std::string failure = run.failure();
  if (!failure.empty() && !told_to_end_at_once(*ranks)) return fail(failure);
  const v1::Finished& finished = run.finished();
  if (finished.outcome() == v1::Finished::SUCCEEDED) {
    if (!shared || speaks) print_done(finished, arguments.output);
    return 0;
  }
  const bool stopped = finished.outcome() == v1::Finished::STOPPED;
  if (shared && !speaks) return stopped ? kStoppedUnderSlurm : 1;
  std::cout << (stopped ? finished.message() : "ended without a new checkpoint") << "\n";
  std::cout << "to go on: " << (shared ? "start the same with srun again" : resume_command(arguments)) << "\n";
  return stopped && slurm->has_value() ? kStoppedUnderSlurm : 1;
}

}  // namespace galleon
