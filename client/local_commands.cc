// Commands that run galleon-trainer on this machine.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "client/commands.h"
#include "client/progress.h"
#include "client/wire_bytes.h"
#include "common/base/files.h"
#include "common/base/frame.h"
#include "common/base/ids.h"
#include "common/base/printable.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"
#include "galleon/v1/plan.pb.h"
#include "galleon/v1/trainer.pb.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {

namespace {

volatile std::sig_atomic_t interrupted = 0;

int usable_cores() {
  return std::max(1U, std::thread::hardware_concurrency());
}

std::string human(uint64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

// Bytes that each rank sends, by operation, refreshes included.
std::string wire_table(const v1::MemoryPlan& plan) {
  std::vector<std::string> header{"sent in a step"};
  const int shown = plan.ranks_size();
  for (int rank = 0; rank < shown; ++rank) header.push_back(absl::StrCat("rank ", rank));
  std::vector<std::vector<std::string>> rows;
  auto row = [&](const char* name, auto bytes_of) {
    std::vector<std::string> cells{name};
    for (int rank = 0; rank < shown; ++rank) cells.push_back(human(bytes_of(plan.ranks(rank))));
    rows.push_back(std::move(cells));
  };
  row("reduce_scatter", [](const v1::RankPlan& r) { return r.wire_mean().reduce_scatter(); });
  row("all_gather", [](const v1::RankPlan& r) { return r.wire_mean().all_gather(); });
  row("all_reduce", [](const v1::RankPlan& r) { return r.wire_mean().all_reduce(); });
  row("reduce", [](const v1::RankPlan& r) { return r.wire_mean().reduce(); });
  row("broadcast", [](const v1::RankPlan& r) { return r.wire_mean().broadcast(); });
  row("mean, refreshes included", [](const v1::RankPlan& r) { return sent_bytes(r.wire_mean()); });
  row("without a refresh", [](const v1::RankPlan& r) { return sent_bytes(r.wire_step()); });
  return table(header, rows);
}

// Largest rank of this job beside other ways to do it.
std::string ways_table(const v1::MemoryPlan& plan) {
  std::vector<std::vector<std::string>> rows;
  auto row = [&](const std::string& name, const v1::MemoryByCategory& m, uint64_t peak, uint64_t sent) {
    rows.push_back({name, human(m.weights()), human(m.gradients()), human(m.optimizer_states() + m.subspaces()),
                    human(peak), human(sent)});
  };
  const v1::RankPlan& own =
      *std::max_element(plan.ranks().begin(), plan.ranks().end(),
                        [](const auto& a, const auto& b) { return a.peak_bytes() < b.peak_bytes(); });
  row("this job", own.memory(), own.peak_bytes(), sent_bytes(plan.wire_step()));
  for (const v1::OtherWay& way : plan.other_ways())
    row(way.name(), way.memory(), way.peak_bytes(), sent_bytes(way.wire_step()));
  return table({"a rank, by", "weights", "gradients", "states", "total", "sent in a step"}, rows);
}

// What it needs and what there is; where that is too little, what would help.
std::string fit_lines(const v1::MemoryPlan& plan) {
  std::string text = absl::StrCat("required         ", human(plan.required_bytes()), " by the largest rank\n");
  if (plan.available_bytes() == 0) return text;
  const bool fits = plan.required_bytes() <= plan.available_bytes();
  absl::StrAppend(&text, "available        ", human(plan.available_bytes()), " (resources.memory_per_rank): it ",
                  fits ? "fits" : "does not fit", "\n");
  if (fits) return text;
  if (plan.fitting_changes().empty())
    return absl::StrCat(text, "                 no change of the job's keys is enough\n");
  for (const v1::FittingChange& change : plan.fitting_changes()) {
    absl::StrAppend(&text, "                 it would with ", absl::StrJoin(change.keys(), ", "), ": ",
                    human(change.bytes()), "\n");
  }
  return text;
}

// Which device a job without a word about it is planned for: where this machine has no GPU, that is not what it takes
// on one that has.
std::string device_line(const v1::Job& job, const v1::MemoryPlan& plan) {
  const bool chosen = job.resources().has_device() && job.resources().device() != v1::Resources::DEVICE_AUTO;
  if (chosen) return "";
  if (plan.device() == "cuda") return "device           a GPU: resources.device is auto, and there is one here\n";
  return "device           the CPU: resources.device is auto, and no GPU serves here; resources: {device: cuda} plans "
         "for "
         "one\n";
}

std::string plan_table(const v1::Job& job, const v1::MemoryPlan& plan) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> header{"memory per rank"};
  for (const v1::RankPlan& rank : plan.ranks()) header.push_back(absl::StrCat("rank ", rank.rank()));
  auto row = [&](const char* name, auto bytes_of_rank) {
    std::vector<std::string> cells{name};
    for (const v1::RankPlan& rank : plan.ranks())
      cells.push_back(human_bytes(static_cast<double>(bytes_of_rank(rank))));
    rows.push_back(std::move(cells));
  };
  row("weights", [](const v1::RankPlan& r) { return r.memory().weights(); });
  row("gradients", [](const v1::RankPlan& r) { return r.memory().gradients(); });
  row("optimizer states", [](const v1::RankPlan& r) { return r.memory().optimizer_states(); });
  row("subspaces", [](const v1::RankPlan& r) { return r.memory().subspaces(); });
  row("activations", [](const v1::RankPlan& r) { return r.memory().activations(); });
  row("workspace", [](const v1::RankPlan& r) { return r.memory().workspace(); });
  row("total", [](const v1::RankPlan& r) { return r.peak_bytes(); });
  row("with the process", [&](const v1::RankPlan& r) { return r.peak_bytes() + plan.process_base_bytes(); });
  std::string text = absl::StrCat(
      job.name(), ": ", human_count(static_cast<double>(plan.parameters())), " parameters, ", plan.ranks_size(),
      plan.ranks_size() == 1 ? " rank on " : " ranks on ", plan.device(), "\n\n", table(header, rows), "\n");
  absl::StrAppend(&text, device_line(job, plan));
  const double full = static_cast<double>(plan.optimizer_full_rank_bytes());
  absl::StrAppend(&text, "optimizer state  ", human_bytes(full * (1.0 - plan.saved_ratio())),
                  " with its subspaces, against ", human_bytes(full),
                  " at full rank: ", absl::StrFormat("%.1f %% saved\n", 100.0 * plan.saved_ratio()));
  if (plan.ranks_size() > 1) absl::StrAppend(&text, "\n", wire_table(plan), "\n");
  absl::StrAppend(&text, ways_table(plan), "\n", fit_lines(plan));
  absl::StrAppend(&text, "work             ", absl::StrFormat("%.1f GFLOP a step\n", plan.step_flops() / 1e9));
  return text;
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

// Ranks that run on this machine.
struct RanksHere {
  int first = 0;
  int count = 0;
};

absl::StatusOr<RanksHere> ranks_here(const TrainArguments& arguments, int ranks) {
  if (arguments.here.empty()) {
    if (!arguments.meet.empty())
      return absl::InvalidArgumentError("--meet needs --here: which ranks run on this machine");
    return RanksHere{0, ranks};
  }
  const std::vector<std::string> ends = absl::StrSplit(arguments.here, '-');
  int first = -1;
  int last = -1;
  if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last) ||
      first < 0 || last < first || last >= ranks) {
    return absl::InvalidArgumentError(absl::StrCat("--here ", arguments.here, ": ranks from 0 to ", ranks - 1,
                                                   " are accepted, such as 0 or 0-1; see --ranks"));
  }
  const bool all = first == 0 && last == ranks - 1;
  if (!all && arguments.meet.empty())
    return absl::InvalidArgumentError("--here needs --meet: a folder that the machines share, or HOST:PORT");
  if (!all && arguments.interface.empty()) {
    return absl::InvalidArgumentError(
        "--here needs --interface: the interface or address of this machine that the others reach it at");
  }
  return RanksHere{first, last - first + 1};
}

struct RunningRank {
  ProcessId process;
  std::optional<ProcessExit> exit;
};

// The ranks of a local run and the events of the first.
class LocalRun {
 public:
  LocalRun(const TrainArguments& arguments, const v1::Job& job, int ranks, const RanksHere& here)
      : arguments_(arguments), job_(job), ranks_(ranks), here_(here) {}

  ~LocalRun() {
    for (RunningRank& rank : running_) {
      if (!rank.exit.has_value()) signal_process_group(rank.process, SIGKILL);
    }
    for (RunningRank& rank : running_) {
      if (!rank.exit.has_value()) (void)wait_process(rank.process.pid, absl::Seconds(10));
    }
    std::error_code error;
    if (arguments_.meet.empty()) std::filesystem::remove_all(rendezvous(), error);
    std::filesystem::remove(job_path(), error);
  }

  absl::Status start() {
    RETURN_IF_ERROR(make_folders(arguments_.output));
    RETURN_IF_ERROR(write_file_atomically(job_path(), job_.SerializeAsString()));
    int events[2];
    if (::pipe2(events, O_CLOEXEC) != 0) return errno_status("cannot create a pipe for", trainer_path(), errno);
    events_ = FileDescriptor(events[0]);
    FileDescriptor write_end(events[1]);
    const int threads = arguments_.threads > 0 ? arguments_.threads : std::max(1, usable_cores() / here_.count);
    for (int rank = here_.first; rank < here_.first + here_.count; ++rank) {
      const bool tells = rank == here_.first;
      ProcessOptions options;
      options.command = {trainer_path(),
                         "--job",
                         job_path(),
                         "--output",
                         arguments_.output,
                         "--rank",
                         std::to_string(rank),
                         "--ranks",
                         std::to_string(ranks_),
                         "--rendezvous",
                         rendezvous(),
                         "--threads",
                         std::to_string(threads),
                         "--local-rank",
                         std::to_string(rank - here_.first),
                         "--local-ranks",
                         std::to_string(here_.count),
                         "--events-fd",
                         tells ? std::to_string(write_end.get()) : "-1"};
      if (!arguments_.interface.empty()) {
        options.command.push_back("--interface");
        options.command.push_back(arguments_.interface);
      }
      if (!arguments_.secret_file.empty()) {
        options.command.push_back("--secret-file");
        options.command.push_back(arguments_.secret_file);
      }
      const double patience =
          arguments_.meet_within > 0 ? arguments_.meet_within : (arguments_.meet.empty() ? 60 : 600);
      options.command.push_back("--meet-within");
      options.command.push_back(absl::StrCat(patience));
      options.stderr_path = log_path(rank);
      options.stdout_path = log_path(rank);
      if (tells) options.kept = {write_end.get()};
      options.die_with_parent = true;
      ASSIGN_OR_RETURN(ProcessId process, start_process(options));
      running_.push_back({process, std::nullopt});
    }
    return absl::OkStatus();
  }

  // Shows events until every rank has ended.
  void follow(ProgressView& view) {
    FrameDecoder decoder;
    bool told = false;
    absl::Time failed_since = absl::InfiniteFuture();
    while (true) {
      pollfd fd{events_.get(), POLLIN, 0};
      ::poll(&fd, events_.valid() ? 1 : 0, 100);
      if (events_.valid() && fd.revents != 0) read_events(decoder, view);
      if (interrupted != 0 && !told) {
        told = true;
        view.note("interrupted; saving a checkpoint (again to end at once)");
        signal_all(SIGTERM);
      }
      if (interrupted > 1) signal_all(SIGKILL);
      bool all_ended = true;
      for (RunningRank& rank : running_) {
        if (rank.exit.has_value()) continue;
        absl::StatusOr<std::optional<ProcessExit>> exit = poll_process(rank.process.pid);
        if (exit.ok() && exit->has_value()) rank.exit = **exit;
        if (!rank.exit.has_value()) all_ended = false;
        if (rank.exit.has_value() && (rank.exit->code != 0 || rank.exit->signal != 0))
          failed_since = std::min(failed_since, absl::Now());
      }
      if (all_ended) break;
      // One rank's failure ends the others, after a moment in which they may say why themselves.
      if (absl::Now() > failed_since + absl::Seconds(2)) signal_all(SIGKILL);
    }
    if (events_.valid()) read_events(decoder, view);
  }

  const v1::Finished& finished() const { return finished_; }

  // The first failure in words, or nothing.
  std::string failure() const {
    if (finished_.outcome() == v1::Finished::FAILED) return finished_.message();
    for (int rank = here_.first; rank < here_.first + static_cast<int>(running_.size()); ++rank) {
      const std::optional<ProcessExit>& exit = running_[rank - here_.first].exit;
      if (!exit.has_value() || (exit->code == 0 && exit->signal == 0)) continue;
      // Our own signals: to a process too young to know them, or to those who waited for it.
      if (interrupted != 0 && (exit->signal == SIGTERM || exit->signal == SIGKILL)) continue;
      absl::StatusOr<std::string> tail = read_file_tail(log_path(rank), 2000);
      std::string why = exit->signal != 0 ? absl::StrCat("was ended by signal ", exit->signal)
                                          : absl::StrCat("ended with code ", exit->code);
      if (tail.ok() && !tail->empty()) {
        const std::vector<std::string> lines = absl::StrSplit(absl::StripSuffix(*tail, "\n"), '\n');
        absl::StrAppend(&why, "; its last line: ", lines.back());
      }
      return absl::StrCat("rank ", rank, " ", why, " (", log_path(rank), ")");
    }
    return "";
  }

 private:
  std::string job_path() const { return absl::StrCat(arguments_.output, "/.job-", id_, ".pb"); }
  std::string rendezvous() const {
    return arguments_.meet.empty() ? absl::StrCat(arguments_.output, "/.rendezvous-", id_) : arguments_.meet;
  }
  std::string log_path(int rank) const { return absl::StrCat(arguments_.output, "/rank-", rank, ".log"); }

  void signal_all(int signal) {
    for (RunningRank& rank : running_) {
      if (!rank.exit.has_value()) signal_process_group(rank.process, signal);
    }
  }

  void read_events(FrameDecoder& decoder, ProgressView& view) {
    char buffer[1 << 16];
    const ssize_t n = ::read(events_.get(), buffer, sizeof(buffer));
    if (n <= 0) {
      if (n == 0) events_.reset();
      return;
    }
    decoder.append({buffer, static_cast<size_t>(n)});
    while (true) {
      absl::StatusOr<std::optional<std::string>> frame = decoder.next();
      if (!frame.ok() || !frame->has_value()) return;
      v1::TrainerEvent event;
      if (!event.ParseFromString(**frame)) continue;
      if (event.has_stage()) view.stage(event.stage());
      if (event.has_step()) view.step(event.step());
      if (event.has_evaluation()) view.evaluation(event.evaluation());
      if (event.has_finished()) finished_ = event.finished();
    }
  }

  TrainArguments arguments_;
  const v1::Job& job_;
  int ranks_;
  RanksHere here_;
  std::string id_ = random_hex(4);
  FileDescriptor events_;
  std::vector<RunningRank> running_;
  v1::Finished finished_;
};

}  // namespace

int fail(const std::string& message) {
  for (absl::string_view line : absl::StrSplit(message, '\n', absl::SkipEmpty()))
    std::cerr << "galleon: " << printable(line) << "\n";
  return 1;
}

std::string trainer_path() {
  const char* path = std::getenv("GALLEON_TRAINER");
  return path != nullptr ? path : executable_folder() + "/galleon-trainer";
}

int run_trainer(const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  const std::string path = trainer_path();
  std::string name = "galleon";  // what its help and errors call the command
  argv.push_back(name.data());
  std::vector<std::string> copies = arguments;
  for (std::string& argument : copies) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execv(path.c_str(), argv.data());
  return fail(std::string(errno_status("cannot start", path, errno).message()));
}

int run_plan(const std::string& job_file, OutputFormat format) {
  absl::StatusOr<v1::Job> job = load_job_file(job_file);
  if (!job.ok()) return fail(std::string(job.status().message()));
  absl::StatusOr<CommandResult> result =
      run_command({trainer_path(), "--plan", "--job", job_file, "--format", "binary"}, absl::Minutes(5));
  if (!result.ok()) return fail(std::string(result.status().message()));
  if (result->timed_out) return fail("the plan took longer than five minutes");
  if (result->exit.code != 0 || result->exit.signal != 0)
    return fail(result->err.empty() ? "galleon-trainer --plan failed" : result->err);
  v1::MemoryPlan plan;
  if (!plan.ParseFromString(result->out)) return fail("galleon-trainer --plan printed something else than a plan");
  std::cerr << result->err;
  if (format == OutputFormat::kTable) {
    std::cout << plan_table(*job, plan);
  } else {
    std::cout << (format == OutputFormat::kJson ? to_json(plan) : to_yaml(to_json(plan)));
  }
  return 0;
}

int run_train(const TrainArguments& arguments) {
  absl::StatusOr<v1::Job> job = load_job_file(arguments.job);
  if (!job.ok()) return fail(std::string(job.status().message()));
  if (arguments.ranks > 0) job->mutable_parallel()->set_ranks(arguments.ranks);
  if (absl::Status s = validate_job(*job); !s.ok()) return fail(std::string(s.message()));
  const int ranks = static_cast<int>(job->parallel().ranks());
  const absl::StatusOr<RanksHere> here = ranks_here(arguments, ranks);
  if (!here.ok()) return fail(std::string(here.status().message()));

  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = interrupted + 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  TrainArguments absolute = arguments;
  std::error_code error;
  absolute.output = std::filesystem::absolute(arguments.output, error).lexically_normal().string();
  while (absolute.output.size() > 1 && absolute.output.back() == '/') absolute.output.pop_back();
  LocalRun run(absolute, *job, ranks, *here);
  if (absl::Status s = run.start(); !s.ok()) return fail(std::string(s.message()));
  {
    ProgressView view(stdout, is_terminal_output(stdout), job->name());
    run.follow(view);
  }
  const std::string failure = run.failure();
  if (!failure.empty() && interrupted < 2) return fail(failure);
  const v1::Finished& finished = run.finished();
  if (finished.outcome() == v1::Finished::SUCCEEDED) {
    // A run that was complete before trained nothing now.
    std::cout << (finished.train_loss() > 0
                      ? absl::StrFormat("done: %d steps, training loss %.4f", finished.step(), finished.train_loss())
                      : absl::StrFormat("done: %d steps, all of them in an earlier run", finished.step()));
    if (finished.has_evaluation()) {
      std::cout << absl::StrFormat(", validation loss %.4f (perplexity %.2f)", finished.evaluation().validation_loss(),
                                   finished.evaluation().perplexity());
    }
    if (finished.bad_rows() > 0) std::cout << ", " << finished.bad_rows() << " bad rows skipped";
    std::cout << "\ncheckpoints and metrics.jsonl are in " << arguments.output << "\n";
    return 0;
  }
  std::cout << (finished.outcome() == v1::Finished::STOPPED ? finished.message() : "ended without a new checkpoint")
            << "\n";
  std::cout << "to go on: " << resume_command(arguments) << "\n";
  return 1;
}

}  // namespace galleon
