// galleon-scheduler: command line, signals, exit codes.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/duration_text.h"
#include "common/base/log.h"
#include "common/base/log_options.h"
#include "common/base/output_file.h"
#include "common/base/process.h"
#include "common/base/service_notifier.h"
#include "common/net/doorkeeper.h"
#include "common/net/listen_address.h"
#include "proto/jobfile/jobfile.h"
#include "proto/jobfile/keys.h"
#include "server/api/queue_file.h"
#include "server/api/server.h"
#include "server/http/openapi.h"
#include "server/store/backup.h"
#include "server/store/shared_store.h"
#include "server/store/transfer.h"

namespace {

constexpr char kFooter[] =
    "Example:\n"
    "  galleon-scheduler --data /var/lib/galleon --listen 127.0.0.1:7070 --metrics 127.0.0.1:7071 --ready-file "
    "/run/galleon.json\n\n"
    "SIGTERM ends it: open calls get UNAVAILABLE, everything acknowledged is on the disk, running jobs go on and are "
    "found again\n"
    "at the next start. SIGHUP reads the files of --queues, --access, --notify and --tls again, as galleon admin "
    "reload does. Exit codes: 0 after SIGTERM or SIGINT; 1 if it cannot start now, and may later; 2 if its options or "
    "files "
    "are wrong; 3 if the journal cannot be read, as it is damaged, of a newer version or no journal; 4 if the journal "
    "cannot be written, and may be later; 5 if another scheduler of the same --store writes now.";

constexpr int kCannotStart = 1;
constexpr int kWrongOptions = 2;  // as they are, and so it stays until somebody changes them
constexpr int kNoJournal = 3;

// Which of them a failed start is.
int exit_code(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kDataLoss:
      return kNoJournal;
    case absl::StatusCode::kInvalidArgument:
      return kWrongOptions;
    case absl::StatusCode::kFailedPrecondition:
      return status.GetPayload(galleon::server::kJournalPayload).has_value() ? kNoJournal : kWrongOptions;
    default:
      return kCannotStart;
  }
}

std::string check_duration(const std::string& text) {
  const std::optional<absl::Duration> parsed = galleon::parse_duration_text(text);
  if (!parsed || *parsed < absl::Seconds(1) || *parsed > absl::Hours(24)) {
    return absl::StrCat("\"", text, "\" is not a duration between 1s and 1d, such as 45s");
  }
  return "";
}

// Of a text that check_duration() accepts.
int64_t milliseconds(const std::string& text) {
  return absl::ToInt64Milliseconds(*galleon::parse_duration_text(text));
}

// The description of the HTTP interface, for the reference.
int print_openapi() {
  std::cout << galleon::server::openapi_json(GALLEON_VERSION);
  return 0;
}

// A state into a file, or from one into the database of --store.
int transfer(const galleon::server::ServerOptions& options, const std::string& to, const std::string& from,
             bool replace) {
  const galleon::SystemClock clock;
  galleon::server::SharedStoreOptions store;
  store.url = options.store;
  store.data = std::filesystem::absolute(options.data).lexically_normal().string();
  store.clock = &clock;
  const absl::StatusOr<galleon::server::Transferred> done =
      to.empty() ? galleon::server::import_journal(store, from, replace) : galleon::server::export_journal(store, to);
  if (!done.ok()) {
    galleon::log_error(std::string(done.status().message()));
    return exit_code(done.status());
  }
  galleon::log_info(to.empty() ? "took " : "wrote ", done->jobs, " jobs ", to.empty() ? "from " : "to ",
                    to.empty() ? from : to, ": ", done->rows.text());
  return 0;
}

int restore_journal(const std::string& backup, const std::string& data) {
  const absl::StatusOr<galleon::server::Restored> restored = galleon::server::restore_backup(backup, data);
  if (!restored.ok()) {
    galleon::log_error(std::string(restored.status().message()));
    return kCannotStart;
  }
  galleon::log_info("restored ", restored->jobs, " jobs from ", backup,
                    restored->replaced.empty() ? "" : "; what was there is now ", restored->replaced);
  return 0;
}

struct Arguments {
  galleon::server::ServerOptions options;
  std::string lease = "5m";
  std::string spare_preempted = "10m";
  std::string spare_borrowers = "1m";
  std::string ready_file;
  std::string restore;
  std::string export_to;
  std::string import_from;
  std::string store;
  std::string store_lease = "3s";
  std::string keep_free;
  bool openapi = false;
  galleon::LogOptions log;
};

void add_options(CLI::App& app, Arguments& a) {
  app.set_version_flag("--version", GALLEON_VERSION);
  app.footer(kFooter);
  app.add_flag("--openapi", a.openapi, "print the OpenAPI description of the JSON interface, and end");
  app.add_option("--data", a.options.data, "folder of the journal and the logs; made if missing");
  app.add_option("--listen", a.options.listen, "address of the gRPC services, port 0 for any free one");
  app.add_option("--metrics", a.options.metrics, "address of /metrics, /livez, /readyz and /leaderz, port 0 for any free one");
  app.add_option("--http", a.options.http,
                 "address of the page and of the JSON interface, port 0 for any free one; beyond loopback it speaks "
                 "HTTPS and needs --tls (default: neither is served)");
  app.add_flag("--metrics-plain-http", a.options.metrics_plain_http,
               "serve them without TLS beyond loopback too, where the network itself is closed");
  app.add_option("--metrics-token", a.options.metrics_token,
                 "file of the token that who reads /metrics has to show (Authorization: Bearer); read again for each "
                 "request");
  app.add_option("--ready-file", a.ready_file, "JSON with pid, listen, metrics and page, written when it serves");
  app.add_option("--jobs", a.options.jobs, "folder of the jobs' own folders; workers write there (default: DATA/jobs)");
  app.add_option("--lease", a.lease,
                 "how long a silent worker keeps its jobs, and they train on without this scheduler")
      ->check(check_duration)
      ->capture_default_str();
  app.add_option("--spare-preempted", a.spare_preempted,
                 "how long a job that made room runs before it has to again for a higher priority")
      ->check(check_duration)
      ->capture_default_str();
  app.add_option("--spare-borrowers", a.spare_borrowers, "the same where a queue takes back what it is guaranteed")
      ->check(check_duration)
      ->capture_default_str();
  app.add_option("--max-lost", a.options.scheduler.lost_in_a_row,
                 "attempts in a row that a job may lose without a new checkpoint or step before it fails")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--max-unanswered", a.options.scheduler.outside_in_a_row,
                 "the same where something outside does not answer, an object store or another rank; pauses between "
                 "them grow to ten minutes")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--restore", a.restore,
                 "make this backup (galleon admin backup) the journal of --data, keep the old one beside it, and end");
  app.add_option("--store", a.store,
                 "postgresql://USER@HOST/DATABASE, or @FILE with such an address: the journal is there, and several "
                 "schedulers share it and --data (default: SQLite, in --data)");
  app.add_option("--advertise", a.options.advertise,
                 "HOST:PORT where clients reach this one of several schedulers, as they name it (default: --listen)");
  app.add_option("--store-lease", a.store_lease,
                 "how long after the last word of the scheduler that writes another takes over")
      ->check([](const std::string& text) {
        const std::optional<absl::Duration> parsed = galleon::parse_duration_text(text);
        return parsed && *parsed >= absl::Seconds(1) && *parsed <= absl::Minutes(1)
                   ? std::string()
                   : absl::StrCat("\"", text, "\" is not a duration between 1s and 1m");
      })
      ->capture_default_str();
  app.add_option("--export", a.export_to, "write the state of a scheduler that does not run into a new file, and end");
  app.add_option("--import", a.import_from, "put such a file into the empty database of --store, and end");
  app.add_option("--tls", a.options.tls,
                 "folder with ca.pem, cert.pem and key.pem (galleon admin init-tls); needed beyond loopback");
  app.add_option("--access", a.options.access,
                 "YAML file of who may do what (default: the certificates that init-tls makes)");
  app.add_option("--max-requests", a.options.requests_per_second, "calls a second that each caller may make")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--queues", a.options.queues,
                 "YAML file of the queues, and of projects' quotas (default: one queue, default)");
  app.add_option("--notify", a.options.notify, "YAML file of webhooks that are told of what happens (default: none)");
  app.add_option("--otlp", a.options.otlp,
                 "HOST:PORT of a collector that takes traces of jobs by OTLP over gRPC, without TLS (default: none)")
      ->check([](const std::string& text) {
        const size_t colon = text.rfind(':');
        const bool whole = colon != std::string::npos && colon > 0 && colon + 1 < text.size() &&
                           text.find('/') == std::string::npos &&
                           text.find_first_not_of("0123456789", colon + 1) == std::string::npos;
        return whole ? std::string() : absl::StrCat("--otlp: \"", text, "\" is no HOST:PORT, such as collector:4317");
      });
  app.add_option(
      "--keep-free", a.keep_free,
      "bytes of the disk of --data that logs leave to the journal: with less left they wait at their workers; by "
      "default 1GiB, or a fiftieth of a smaller disk");
  app.add_option("--log-format", a.log.format, "of this program's own log: text, or json, an object a line")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--log-level", a.log.level,
                 "what is logged from: debug, info, warning or error (default: GALLEON_LOG, else info)")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  app.add_option("--planner", a.options.planner, "the galleon-trainer that plans memory")->capture_default_str();
}

// What the options say together, and what the files say that they name. Not 0: it has been told what is wrong.
int complete(Arguments& a) {
  for (const auto& [flag, value, example] : {std::tuple("--data", &a.options.data, " /var/lib/galleon"),
                                             std::tuple("--listen", &a.options.listen, " 127.0.0.1:7070"),
                                             std::tuple("--metrics", &a.options.metrics, " 127.0.0.1:7071")}) {
    if (!value->empty()) continue;
    galleon::log_error(flag, " is required, such as ", flag, example);
    return kWrongOptions;
  }
  a.options.scheduler.lease_ms = milliseconds(a.lease);
  a.options.scheduler.preempted_run_ms = milliseconds(a.spare_preempted);
  a.options.scheduler.borrower_run_ms = milliseconds(a.spare_borrowers);
  if (!a.keep_free.empty()) {
    const std::optional<uint64_t> bytes = galleon::parse_bytes(a.keep_free);
    if (!bytes || *bytes == 0) {
      galleon::log_error("--keep-free ", a.keep_free, ": a size such as 10GiB is accepted");
      return kWrongOptions;
    }
    a.options.keep_free = *bytes;
  }
  if (a.options.queues.empty()) return 0;
  absl::StatusOr<galleon::server::QueueFile> queues = galleon::server::load_queues(a.options.queues);
  if (!queues.ok()) {
    galleon::log_error("--queues: ", std::string(queues.status().message()));
    return exit_code(queues.status());
  }
  a.options.scheduler.queues = std::move(queues->queues);
  a.options.scheduler.projects = std::move(queues->projects);
  return 0;
}

// Until a signal ends it.
int serve(Arguments& a) {
  galleon::ServiceNotifier service = galleon::ServiceNotifier::from_environment();
  const galleon::SystemClock clock;
  a.options.on_round = [&] { service.progressed(clock.monotonic()); };
  sigset_t signals = galleon::block_end_signals();
  sigaddset(&signals, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  galleon::raise_descriptor_limit();
  std::error_code ignored;
  if (!a.ready_file.empty()) {
    if (const absl::Status status = galleon::check_replaceable(a.ready_file); !status.ok()) {
      galleon::log_error("--ready-file: ", std::string(status.message()));
      return kWrongOptions;
    }
    std::filesystem::remove(a.ready_file, ignored);
  }
  // What is known of it once it listens, and again when one that stood by serves.
  std::mutex told;
  bool serving = false;
  galleon::ReadyFile ready;
  const auto tell = [&](const std::string& stands_by) {
    const std::string what = stands_by.empty() ? absl::StrCat("serves on ", ready.listen) : stands_by;
    if (stands_by.empty())
      galleon::log_info(what, ", metrics on ", ready.metrics, ready.page.empty() ? "" : ", page on ", ready.page);
    const absl::Status written =
        a.ready_file.empty() ? absl::OkStatus() : galleon::write_ready_file(a.ready_file, ready);
    if (!written.ok()) galleon::log_error("--ready-file: ", std::string(written.message()));
    service.ready(what);
    return written.ok();
  };
  a.options.on_serving = [&](const std::string& page) {
    const std::lock_guard<std::mutex> lock(told);
    serving = true;
    ready.page = page;
    if (!ready.listen.empty()) tell("");
  };
  absl::StatusOr<std::unique_ptr<galleon::server::Server>> server = galleon::server::Server::start(a.options);
  if (!server.ok()) {
    galleon::log_error(std::string(server.status().message()));
    return exit_code(server.status());
  }
  {
    const std::lock_guard<std::mutex> lock(told);
    const std::string stands_by = serving ? "" : (*server)->stands_by();
    if (!serving && stands_by.empty()) ready.page = (*server)->page_url();
    ready.pid = ::getpid();
    ready.listen = (*server)->address();
    ready.metrics = (*server)->metrics_address();
    if (!tell(stands_by)) return kCannotStart;
  }
  int signal = 0;
  while (sigwait(&signals, &signal) == 0 && signal == SIGHUP) {
    service.reloading();
    (*server)->reload(
        [&service, address = (*server)->address()] { service.ready(absl::StrCat("serves on ", address)); });
  }
  service.stopping();
  galleon::log_info(signal == SIGTERM ? "SIGTERM" : "SIGINT", ": shuts down");
  server->reset();
  if (!a.ready_file.empty()) std::filesystem::remove(a.ready_file, ignored);
  galleon::log_info("is down");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  arguments.options.scheduler.version = GALLEON_VERSION;
  arguments.options.planner = galleon::executable_folder() + "/galleon-trainer";
  arguments.options.validate_job = galleon::validate_job;
  CLI::App app{"The scheduler of Galleon: takes jobs, hands them to workers, and never loses one.",
               "galleon-scheduler"};
  add_options(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kWrongOptions;
  }
  if (arguments.openapi) return print_openapi();
  galleon::init_logging("galleon-scheduler", arguments.log);
  const absl::StatusOr<galleon::server::StoreAddress> store = galleon::server::parse_store(arguments.store);
  if (!store.ok()) {
    galleon::log_error(std::string(store.status().message()));
    return kWrongOptions;
  }
  arguments.options.store = arguments.store;
  arguments.options.store_lease = *galleon::parse_duration_text(arguments.store_lease);
  if (!arguments.export_to.empty() || !arguments.import_from.empty()) {
    if (arguments.options.data.empty() || (!arguments.import_from.empty() && arguments.options.store.empty())) {
      galleon::log_error("--export needs --data, --import needs --data and --store; --restore is for SQLite");
      return kWrongOptions;
    }
    return transfer(arguments.options, arguments.export_to, arguments.import_from, false);
  }
  if (!arguments.restore.empty() && !arguments.options.store.empty() && !arguments.options.data.empty())
    return transfer(arguments.options, "", arguments.restore, true);
  if (!arguments.restore.empty() && !arguments.options.data.empty())
    return restore_journal(arguments.restore, arguments.options.data);
  const int wrong = complete(arguments);
  return wrong == 0 ? serve(arguments) : wrong;
}
