// Commands that speak to the scheduler.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/commands.h"
#include "client/inputs.h"
#include "client/job_client.h"
#include "client/job_file.h"
#include "client/progress.h"
#include "client/since.h"
#include "client/sweep.h"
#include "client/tables.h"
#include "common/base/ids.h"
#include "common/base/printable.h"
#include "common/net/trace_id.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {

namespace {

int fail(const absl::Status& status) {
  return galleon::fail(std::string(status.message()));
}

std::string state_name(v1::JobRecord::State state) {
  return v1::JobRecord::State_Name(state);
}

int exit_code_of(v1::JobRecord::State state) {
  switch (state) {
    case v1::JobRecord::SUCCEEDED:
      return 0;
    case v1::JobRecord::CANCELLED:
      return 2;
    default:
      return 1;
  }
}

// What a command that shows one job says of a group.
std::string one_job(const std::string& verb, const std::string& group) {
  return absl::StrCat("galleon ", verb, " takes one job, and ", group, " is a group; galleon list --group ", group,
                      " names its jobs");
}

int64_t now_ms() {
  return absl::ToUnixMillis(absl::Now());
}

void print_job(const v1::JobRecord& job) {
  std::vector<std::vector<std::string>> rows;
  auto add = [&](const std::string& key, const std::string& value) {
    if (!value.empty()) rows.push_back({key, value});
  };
  add("job", job.job_id());
  add("state", state_name(job.state()));
  add("", job.message());
  add("queue",
      absl::StrCat(job.queue(), ", priority ", job.priority(), job.owner().empty() ? "" : ", of ", job.owner()));
  if (job.held()) {
    add("held", absl::StrCat("for ", human_age(job.held_time_ms(), now_ms()), job.hold_reason().empty() ? "" : ": ",
                             job.hold_reason()));
  }
  add("labels", labels_text(job.job()));
  add("group", job.group());
  add("settings", absl::StrJoin(job.settings(), ", ", [](std::string* out, const v1::SweepSetting& setting) {
        absl::StrAppend(out, setting.key(), "=", setting.value());
      }));
  add("note", job.job().note());
  add("submitted", absl::StrCat(human_age(job.create_time_ms(), now_ms()), " ago"));
  if (job.start_estimate_ms() > now_ms())
    add("start",
        absl::StrCat("expected in ", human_duration(static_cast<double>(job.start_estimate_ms() - now_ms()) / 1000)));
  add("attempts", absl::StrCat(job.attempts(), job.failures() > 0 ? absl::StrCat(", ", job.failures(), " failed") : "",
                               job.resumptions() > 0 ? absl::StrCat(", resumed ", job.resumptions(), " times") : ""));
  if (job.has_attempt()) add("workers", absl::StrJoin(job.attempt().workers(), ", "));
  if (job.progress().step() > 0) {
    add("step", absl::StrFormat("%d of %d", job.progress().step(), job.progress().total_steps()));
    add("loss", absl::StrFormat("%.4f", job.progress().loss()));
    add("tokens/s", human_count(job.progress().tokens_per_second()));
  }
  if (job.has_evaluation())
    add("validation", absl::StrFormat("loss %.4f, perplexity %.2f", job.evaluation().validation_loss(),
                                      job.evaluation().perplexity()));
  if (job.has_plan()) {
    const double full = static_cast<double>(job.plan().optimizer_full_rank_bytes());
    add("optimizer", absl::StrCat(human_bytes(full * (1 - job.plan().saved_ratio())), " of ", human_bytes(full),
                                  " at full rank, ", absl::StrFormat("%.1f %% saved", 100 * job.plan().saved_ratio())));
  }
  if (job.checkpoint().step() > 0)
    add("checkpoint", absl::StrCat("step ", job.checkpoint().step(), ", ", job.checkpoint().folder()));
  add("folder", job.folder());
  add("trace", trace_id_of(job.job_id(), job.create_time_ms()));
  std::cout << table({"", ""}, rows);
}

// While it lives, Ctrl-C says before it ends the program that the job does not end with it.
class InterruptNote {
 public:
  explicit InterruptNote(const std::string& job) {
    text() = absl::StrCat("\ngalleon: the job goes on; galleon watch ", printable(job),
                          " shows it again, galleon cancel ", printable(job), " ends it\n");
    struct sigaction action {};
    action.sa_handler = [](int signal) {
      (void)!::write(STDERR_FILENO, text().data(), text().size());
      ::raise(signal);
    };
    action.sa_flags = SA_RESETHAND | SA_NODEFER;
    ::sigaction(SIGINT, &action, &before_);
  }
  ~InterruptNote() { ::sigaction(SIGINT, &before_, nullptr); }
  InterruptNote(const InterruptNote&) = delete;
  InterruptNote& operator=(const InterruptNote&) = delete;

 private:
  // A signal handler reaches nothing else.
  static std::string& text() {
    static std::string kept;
    return kept;
  }
  struct sigaction before_ {};
};

int watch(JobClient& client, const std::string& job, OutputFormat format) {
  // A program reads the record alone; what people see of the way to it goes elsewhere.
  std::FILE* out = format == OutputFormat::kTable ? stdout : stderr;
  const InterruptNote note(job);
  ProgressView view(out, is_terminal_output(out), job);
  std::string message;
  absl::StatusOr<v1::JobRecord> last = client.watch_job(
      job,
      [&](const v1::JobRecord& record) {
        const std::string now =
            absl::StrCat(state_name(record.state()), record.message().empty() ? "" : ": ", record.message());
        // What a running attempt is doing is shown as its stage.
        const bool stage_only = record.has_stage() && absl::StrContains(now, record.stage().name());
        if (now != message && !stage_only &&
            (record.progress().step() == 0 || record.state() != v1::JobRecord::RUNNING)) {
          view.note(now);
        }
        message = now;
        if (record.has_stage()) view.stage(record.stage());
        if (record.has_progress()) view.step(record.progress());
        if (record.has_evaluation()) view.evaluation(record.evaluation());
        return true;
      },
      [&](const absl::Status& status) { view.note(absl::StrCat(status.message(), "; waiting for it")); });
  view.finish();
  if (!last.ok()) return fail(last.status());
  if (format != OutputFormat::kTable) print_message(*last, format);
  return exit_code_of(last->state());
}

}  // namespace

JobClient client_of(const Remote& remote) {
  return JobClient(remote.server, remote.credentials, JobClient::kRetryTimeout, remote.explain);
}

int run_submit(const Remote& remote, const SubmitArguments& arguments) {
  if (!arguments.sweeps.empty()) return run_sweep(remote, arguments);
  if (arguments.max_running > 0) return galleon::fail("--max-running is about the jobs of a sweep; give --sweep");
  if (!arguments.stop_worst_after.empty())
    return galleon::fail("--stop-worst-after is about the jobs of a sweep; give --sweep");
  const absl::StatusOr<JobText> file = read_job_text(arguments.job);
  if (!file.ok()) return fail(file.status());
  // Our own reading first: its messages name key and line.
  absl::StatusOr<v1::Job> job = job_with(*file, arguments.settings);
  if (!job.ok()) return fail(job.status());
  JobClient client = client_of(remote);
  v1::CreateJobRequest request;
  request.set_request_id(arguments.request_id.empty() ? random_hex(16) : arguments.request_id);
  const absl::StatusOr<Attachments> attached = attachments_of(*job, arguments.attach);
  if (!attached.ok()) return fail(attached.status());
  if (const absl::Status sent = send(client, *attached, request.request_id()); !sent.ok()) return fail(sent);
  job = with_shape(arguments.inputs, client, *job, *attached, request.request_id());
  if (!job.ok()) return fail(job.status());
  *request.mutable_job() = *std::move(job);
  request.set_validate_only(arguments.validate_only);
  request.set_allow_pending(arguments.allow_pending);
  absl::StatusOr<v1::JobRecord> record = client.create_job(request);
  if (!record.ok()) return fail(record.status());
  const bool ends = !arguments.validate_only && (arguments.watch || arguments.wait);
  if (remote.format != OutputFormat::kTable) {
    // One document: with --watch and --wait the record that the job ends with.
    if (ends) std::cerr << "submitted " << record->job_id() << "\n";
    if (!ends) print_message(*record, remote.format);
  } else if (arguments.validate_only) {
    std::cout << "valid: " << record->job().name() << (record->message().empty() ? "" : "; ")
              << printable(record->message()) << "\n";
  } else {
    std::cout << "submitted " << record->job_id() << "\n" << std::flush;
    if (::isatty(STDERR_FILENO) == 1 && !arguments.watch && !arguments.wait) {
      std::cerr << "next: galleon watch " << record->job_id() << ", galleon logs -f " << record->job_id()
                << ", galleon cancel " << record->job_id() << "\n";
    }
  }
  if (arguments.validate_only) return 0;
  if (arguments.watch) return watch(client, record->job_id(), remote.format);
  if (arguments.wait) return run_wait(remote, record->job_id(), 0);
  return 0;
}

int run_get(const Remote& remote, const Selection& selection, bool job_file) {
  if (job_file && selection.jobs.size() != 1) return galleon::fail("--job-file gives the file of one job; name one");
  if (job_file && remote.format == OutputFormat::kJson)
    return galleon::fail("--job-file is YAML; -o json without it gives the whole record");
  if (selection.jobs.size() == 1 && names_group(selection.jobs.front())) {
    if (job_file) return galleon::fail("--job-file gives the file of one job, not of a group");
    return run_get_group(remote, selection.jobs.front());
  }
  JobClient client = client_of(remote);
  absl::StatusOr<std::vector<v1::JobRecord>> jobs = select_jobs(client, selection, {"get", {}});
  if (!jobs.ok()) return fail(jobs.status());
  std::vector<v1::JobRecord> found;
  std::vector<std::string> failed;
  for (const v1::JobRecord& job : *jobs) {
    absl::StatusOr<v1::JobRecord> record = job;
    if (job.etag().empty()) record = client.get_job(job.name());
    if (!record.ok()) {
      (void)fail(record.status());
      failed.push_back(job.job_id());
      continue;
    }
    found.push_back(*std::move(record));
  }
  if (job_file && !found.empty()) {
    std::cout << job_to_yaml(found.front().job());
  } else if (remote.format == OutputFormat::kTable) {
    for (size_t i = 0; i < found.size(); ++i) {
      if (i > 0) std::cout << "\n";
      print_job(found[i]);
    }
  } else if (selection.jobs.size() == 1) {
    if (!found.empty()) print_message(found.front(), remote.format);
  } else {
    print_list(found, remote.format);
  }
  if (!failed.empty() && jobs->size() > 1)
    (void)galleon::fail(absl::StrCat(failed.size(), " of ", jobs->size(), " failed: ", absl::StrJoin(failed, ", ")));
  return failed.empty() ? 0 : 1;
}

int run_watch(const Remote& remote, const std::string& job) {
  if (names_group(job)) return galleon::fail(one_job("watch", job));
  JobClient client = client_of(remote);
  return watch(client, job, remote.format);
}

int run_logs(const Remote& remote, const std::string& job, const LogsArguments& arguments) {
  if (names_group(job)) return galleon::fail(one_job("logs", job));
  const absl::StatusOr<absl::Time> from = parse_since(arguments.since);
  if (!from.ok()) return fail(from.status());
  JobClient client = client_of(remote);
  LogSince since(*from);
  PrintableLog log;
  const auto print = [&](const std::string& text) {
    std::cout << (arguments.raw ? text : log.add(text)) << std::flush;
  };
  const bool all = arguments.since.empty();
  const absl::Status status = client.read_logs(
      job, arguments.attempt, arguments.rank, arguments.follow,
      [&](const v1::ReadLogsResponse& piece) { print(all ? piece.data() : since.add(piece.data())); }, arguments.tail);
  print(since.finish());
  std::cout << log.finish() << std::flush;
  if (!status.ok()) return fail(status);
  if (!all && since.lacks_times())
    return galleon::fail("--since: no line of this log begins with a time; --tail N shows its last lines");
  return 0;
}

int run_wait(const Remote& remote, const std::string& job, double timeout_seconds) {
  if (names_group(job)) return run_wait_group(remote, job, timeout_seconds);
  const InterruptNote note(job);
  JobClient client = client_of(remote);
  const absl::Time deadline =
      timeout_seconds > 0 ? absl::Now() + absl::Seconds(timeout_seconds) : absl::InfiniteFuture();
  bool reached = false;
  while (true) {
    // The last question gets a moment of its own, so that its answer is not cut off by the end of the wait.
    absl::StatusOr<v1::JobRecord> record =
        client.get_job(job, std::max(deadline, absl::Now() + absl::Milliseconds(500)));
    // A scheduler that is away for a while does not end the wait, unless it was never there. One that is silent is not
    // waited for any longer than was asked.
    const bool silent = absl::IsDeadlineExceeded(record.status());
    const bool away = absl::IsUnavailable(record.status()) || silent;
    const bool over = absl::Now() >= deadline;
    if (!record.ok() && !(silent && over) && (!reached || !away)) {
      (void)fail(record.status());
      return kOwnError;
    }
    reached |= record.ok();
    if (record.ok() && is_terminal(record->state())) {
      if (remote.format != OutputFormat::kTable) {
        print_message(*record, remote.format);
      } else {
        std::cout << record->job_id() << " " << state_name(record->state()) << (record->message().empty() ? "" : ": ")
                  << printable(record->message()) << "\n";
      }
      return exit_code_of(record->state());
    }
    if (absl::Now() >= deadline) {
      galleon::fail(absl::StrCat(job,
                                 record.ok() ? absl::StrCat(" is still ", state_name(record->state()))
                                 : reached   ? " has not ended"
                                             : absl::StrCat(": the scheduler at ", remote.server, " has not answered"),
                                 " after ", human_duration(timeout_seconds)));
      return 3;
    }
    absl::SleepFor(std::min(absl::Milliseconds(300), deadline - absl::Now()));
  }
}

int run_workers(const Remote& remote) {
  JobClient client = client_of(remote);
  absl::StatusOr<std::vector<v1::Worker>> workers = client.list_workers();
  if (!workers.ok()) return fail(workers.status());
  if (remote.format != OutputFormat::kTable) {
    print_list(*workers, remote.format);
    return 0;
  }
  std::cout << worker_table(*workers);
  return 0;
}

int run_attempts(const Remote& remote, const std::string& job) {
  JobClient client = client_of(remote);
  absl::StatusOr<std::vector<v1::Attempt>> attempts = client.list_attempts(job);
  if (!attempts.ok()) return fail(attempts.status());
  if (remote.format != OutputFormat::kTable) {
    print_list(*attempts, remote.format);
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const v1::Attempt& attempt : *attempts) {
    const int64_t end = attempt.end_time_ms() > 0 ? attempt.end_time_ms() : now_ms();
    rows.push_back({absl::StrCat(attempt.number()), v1::Attempt::Outcome_Name(attempt.outcome()),
                    absl::StrJoin(attempt.workers(), ", "), absl::StrCat(attempt.resumed_from_step()),
                    absl::StrCat(attempt.last_step()), human_age(attempt.start_time_ms(), end), attempt.message()});
  }
  std::cout << table({"ATTEMPT", "OUTCOME", "WORKERS", "FROM STEP", "TO STEP", "TIME", "MESSAGE"}, rows);
  return 0;
}

}  // namespace galleon
