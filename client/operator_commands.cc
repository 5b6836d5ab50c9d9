// Commands about queues, events, workers and the scheduler itself.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "client/tables.h"
#include "common/base/ids.h"
#include "common/base/output_file.h"
#include "common/base/printable.h"
#include "common/net/certificates.h"

namespace galleon {

namespace {

int fail(const absl::Status& status) {
  return galleon::fail(std::string(status.message()));
}

std::string event_line(const v1::Event& event) {
  return absl::StrCat(
      absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(event.time_ms()), absl::LocalTimeZone()), "  ",
      printable(absl::StrCat(event.subject(), "  ", event.kind(), event.message().empty() ? "" : ": ", event.message(),
                             event.actor().empty() ? "" : absl::StrCat(" (", event.actor(), ")"))),
      "\n");
}

constexpr size_t kTopLines = 4;  // of `top`: its title, the header of the jobs, and what follows them

// Lines of the terminal that are left below `used`, but some in any case; 0: as many as are wanted.
size_t room_below(size_t used) {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return 0;
  return std::max<size_t>(5, size.ws_row > used ? size.ws_row - used : 0);
}

}  // namespace

std::string top_jobs(std::vector<v1::JobRecord> jobs, size_t room) {
  // What runs, then what starts next.
  std::stable_sort(jobs.begin(), jobs.end(), [](const v1::JobRecord& a, const v1::JobRecord& b) {
    const auto place = [](const v1::JobRecord& job) {
      return std::pair(job.state() == v1::JobRecord::QUEUED, job.queue_position());
    };
    return place(a) < place(b);
  });
  if (room == 0 || jobs.size() <= room) return job_table(jobs);
  const size_t left = jobs.size() - room;
  jobs.resize(room);
  return absl::StrCat(job_table(jobs), "and ", left, " more; galleon list shows all\n");
}

int run_queues(const Remote& remote) {
  JobClient client = client_of(remote);
  absl::StatusOr<std::vector<v1::Queue>> queues = client.list_queues();
  if (!queues.ok()) return fail(queues.status());
  if (remote.format != OutputFormat::kTable) {
    print_list(*queues, remote.format);
  } else {
    const std::string users = queue_users_table(*queues);
    std::cout << queue_table(*queues) << (users.empty() ? "" : "\n") << users;
  }
  return 0;
}

int run_projects(const Remote& remote) {
  JobClient client = client_of(remote);
  const absl::StatusOr<std::vector<v1::Project>> projects = client.list_projects();
  if (!projects.ok()) return fail(projects.status());
  if (remote.format != OutputFormat::kTable) {
    print_list(*projects, remote.format);
  } else {
    std::cout << project_table(*projects);
  }
  return 0;
}

int run_events(const Remote& remote, const std::string& subject, bool follow) {
  JobClient client = client_of(remote);
  const std::string name = subject.empty() || absl::StrContains(subject, "/") ? subject : job_name(subject);
  const absl::Status status = client.watch_events(
      name, follow,
      [&](const v1::Event& event) {
        if (remote.format == OutputFormat::kTable) {
          std::cout << event_line(event);
        } else {
          print_message(event, remote.format);
        }
        std::cout.flush();
        return true;
      },
      [](const absl::Status& away) { std::cerr << printable(away.message()) << "; waiting for it\n"; });
  return status.ok() ? 0 : fail(status);
}

namespace {

void print_worker(const v1::Worker& worker, OutputFormat format) {
  if (format != OutputFormat::kTable) return print_message(worker, format);
  std::cout << worker.worker_id() << " " << v1::Worker::State_Name(worker.state())
            << (worker.message().empty() ? "" : ": ") << printable(worker.message()) << "\n"
            << std::flush;
}

// Until it holds nothing any more, or has gone away.
int await_drained(JobClient& client, const Remote& remote, v1::Worker worker, double deadline_seconds) {
  const absl::Time deadline =
      deadline_seconds > 0 ? absl::Now() + absl::Seconds(deadline_seconds) : absl::InfiniteFuture();
  while (worker.state() != v1::Worker::DRAINED && worker.state() != v1::Worker::GONE) {
    if (worker.ordered() != v1::Worker::DRAINING)
      return galleon::fail(absl::StrCat(worker.worker_id(), " is not to be drained any more"));
    if (absl::Now() >= deadline) {
      galleon::fail(absl::StrCat(worker.worker_id(), " is still ", v1::Worker::State_Name(worker.state()), " after ",
                                 human_duration(deadline_seconds), ", and goes on: ", worker.message()));
      return 3;
    }
    absl::SleepFor(std::min(absl::Milliseconds(300), deadline - absl::Now()));
    absl::StatusOr<v1::Worker> now = client.get_worker(worker.worker_id());
    if (now.ok()) {
      worker = *std::move(now);
    } else if (!absl::IsUnavailable(now.status()) && !absl::IsDeadlineExceeded(now.status())) {
      return fail(now.status());
    }
  }
  print_worker(worker, remote.format);
  return 0;
}

}  // namespace

int run_order(const Remote& remote, const std::string& worker, WorkerOrder order, const std::string& reason,
              const DrainWait& drain) {
  if (drain.deadline > 0 && !drain.wait) return galleon::fail("--deadline belongs to --wait; give both");
  JobClient client = client_of(remote);
  const v1::Worker::State ordered = order == WorkerOrder::kCordon  ? v1::Worker::CORDONED
                                    : order == WorkerOrder::kDrain ? v1::Worker::DRAINING
                                                                   : v1::Worker::READY;
  const absl::StatusOr<v1::Worker> record = client.order_worker(worker, ordered, reason);
  if (!record.ok()) return fail(record.status());
  if (drain.wait) return await_drained(client, remote, *record, drain.deadline);
  print_worker(*record, remote.format);
  return 0;
}

int run_forget(const Remote& remote, const std::string& worker) {
  JobClient client = client_of(remote);
  if (const absl::Status status = client.forget_worker(worker); !status.ok()) return fail(status);
  std::cout << worker_name(worker).substr(8) << " is forgotten\n";
  return 0;
}

int run_top(const Remote& remote, bool once) {
  JobClient client = client_of(remote);
  bool reached = false;
  while (true) {
    v1::ListJobsRequest live;
    for (const v1::JobRecord::State state :
         {v1::JobRecord::QUEUED, v1::JobRecord::RESERVED, v1::JobRecord::STARTING, v1::JobRecord::RUNNING,
          v1::JobRecord::PREEMPTING, v1::JobRecord::CANCELLING}) {
      live.add_states(state);
    }
    const absl::StatusOr<std::vector<v1::Queue>> queues = client.list_queues();
    const absl::StatusOr<std::vector<v1::JobRecord>> jobs = client.list_jobs(live);
    const absl::StatusOr<std::vector<v1::Worker>> workers = client.list_workers();
    for (const absl::Status& status : {queues.status(), jobs.status(), workers.status()}) {
      if (!status.ok() && (once || !reached)) return fail(status);
    }
    std::string screen;
    if (queues.ok() && jobs.ok() && workers.ok()) {
      reached = true;
      screen = absl::StrCat(queue_table(*queues), "\n", worker_table(*workers), "\n");
      const auto above = static_cast<size_t>(std::count(screen.begin(), screen.end(), '\n'));
      absl::StrAppend(&screen, top_jobs(*jobs, once ? 0 : room_below(above + kTopLines)));
    } else {
      screen = absl::StrCat("the scheduler at ", remote.server, " is away; waiting for it\n");
    }
    if (once) {
      std::cout << screen;
      return 0;
    }
    // The screen is written over, not cleared first, so that it does not flicker.
    std::cout << "\x1b[H"
              << absl::FormatTime("galleon top, %H:%M:%S; Ctrl-C ends it\x1b[K\n\x1b[K\n", absl::Now(),
                                  absl::LocalTimeZone());
    for (const absl::string_view line : absl::StrSplit(screen, '\n')) std::cout << line << "\x1b[K\n";
    std::cout << "\x1b[J" << std::flush;
    absl::SleepFor(absl::Seconds(1));
  }
}

int run_backup(const Remote& remote, const std::string& file, bool yes) {
  if (absl::Status status = check_replaceable(file); !status.ok()) return fail(status);
  if (!yes && std::filesystem::exists(file) && !agreed(absl::StrCat(file, " is there already; replace it?")))
    return galleon::fail(absl::StrCat(file, " is there already and was left as it is; --yes replaces it"));
  JobClient client = client_of(remote);
  const absl::StatusOr<uint64_t> bytes = client.backup(file);
  if (!bytes.ok()) return fail(bytes.status());
  std::cout << "wrote " << human_bytes(static_cast<double>(*bytes)) << " to " << file << "\n";
  return 0;
}

int run_reload(const Remote& remote, bool validate_only) {
  JobClient client(remote.server, remote.credentials, JobClient::kRetryTimeout, remote.explain);
  const absl::StatusOr<v1::ReloadResponse> response = client.reload(validate_only);
  if (!response.ok()) return fail(response.status());
  if (remote.format != OutputFormat::kTable) {
    print_message(*response, remote.format);
    return 0;
  }
  std::string text;
  for (const auto& [what, changes] :
       {std::pair("queue", &response->queues()), std::pair("project", &response->projects()),
        std::pair("principal", &response->principals()), std::pair("receiver", &response->receivers())}) {
    for (const auto& [word, names] : {std::pair("added", &changes->added()), std::pair("removed", &changes->removed()),
                                      std::pair("changed", &changes->changed())}) {
      for (const std::string& name : *names) absl::StrAppend(&text, what, " ", word, ": ", printable(name), "\n");
    }
  }
  std::cout << (text.empty() ? "nothing has changed\n" : text);
  if (validate_only) std::cout << "nothing was taken over; without --validate-only it is\n";
  return 0;
}

int run_init_tls(const InitTlsArguments& arguments) {
  const absl::Duration valid = absl::Hours(24) * arguments.days;
  if (arguments.client.empty()) {
    if (absl::Status status = init_tls(arguments.folder, arguments.hosts, valid); !status.ok()) return fail(status);
    std::cout << "made " << arguments.folder
              << "/server (galleon-scheduler --tls), /worker (galleon-worker --tls), /admin "
              << "(galleon --tls);\nkeep " << arguments.folder << "/authority/key.pem where nobody else reads it\n";
    return 0;
  }
  if (absl::Status status = add_client(arguments.folder, arguments.client, valid); !status.ok()) return fail(status);
  const std::string folder = absl::StrCat(arguments.folder, "/", arguments.client);
  std::string line = absl::StrCat("  ", arguments.client, ": {certificate: ", arguments.client);
  if (arguments.token) {
    const std::string token = random_hex(32);
    if (absl::Status status = write_secret(folder + "/token", token + "\n"); !status.ok()) return fail(status);
    absl::StrAppend(&line, ", token_sha256: ", sha256_hex(token));
  }
  std::cout << "made " << folder << "; a line for the scheduler's --access file, under principals:\n"
            << line << ", roles: {default: submitter}}\n";
  return 0;
}

}  // namespace galleon
