// galleon-worker: the daemon of one machine.
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/log_options.h"
#include "common/base/process.h"
#include "common/net/server_list.h"
#include "common/net/tls_folder.h"
#include "common/net/tls_watch.h"
#include "proto/jobfile/keys.h"
#include "worker/daemon/daemon.h"
#include "worker/daemon/supervisor.h"

namespace galleon {
namespace {

constexpr char kExample[] =
    "Example:\n"
    "  galleon-worker --server 127.0.0.1:7070 --name w1 --data /var/lib/galleon/w1 --slots 2 \\\n"
    "    --allow /srv/models --allow /srv/data --metrics 127.0.0.1:0 --ready-file /run/galleon/w1.json";

int fail(absl::string_view message, int code) {
  std::cerr << "galleon-worker: " << message << "\n";
  return code;
}

constexpr mode_t kOthersNothing = 0027;

struct Arguments {
  DaemonOptions options;
  std::string tls_folder;
  std::unique_ptr<TlsWatch> certificates;
  std::vector<std::string> labels;
  std::string memory;
  std::string spool = "64MiB";
  std::string keep_free;
  std::string token_caches = "64GiB";
  LogOptions log;
  double grace = 60;
  double probe = 30;
};

// What holds where no option is given.
Arguments defaults() {
  Arguments a;
  if (const char* server = std::getenv("GALLEON_SERVER"); server != nullptr) a.options.server = server;
  if (const char* tls = std::getenv("GALLEON_TLS"); tls != nullptr) a.tls_folder = tls;
  const char* trainer = std::getenv("GALLEON_TRAINER");
  a.options.executable = absl::StrCat(executable_folder(), "/galleon-worker");
  a.options.trainer = trainer != nullptr ? trainer : absl::StrCat(executable_folder(), "/galleon-trainer");
#ifdef GALLEON_CUDA
  a.options.device = "auto";
#endif
  return a;
}

void add_options(CLI::App& app, Arguments& a) {
  app.footer(kExample);
  app.set_version_flag("--version", GALLEON_VERSION);
  app.add_option("--server", a.options.server,
                 "HOST:PORT of the scheduler, or of several with commas between; or GALLEON_SERVER");
  app.add_option("--tls", a.tls_folder, "folder with ca.pem, cert.pem and key.pem, or GALLEON_TLS");
  app.add_option("--name", a.options.name, "of this worker, unique at its scheduler")->required();
  app.add_option("--data", a.options.data, "folder for what must outlive a restart of this daemon")->required();
  app.add_option("--slots", a.options.slots, "ranks that may run here at one time")
      ->check(CLI::Range(1, 1024))
      ->required();
  app.add_option("--device", a.options.device,
                 "what a slot is: cuda, one GPU; cpu, a share of the processors; auto, GPUs as far as there are some")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--allow", a.options.allow,
                 "folder, or address in an object store (s3://BUCKET/PATH), that jobs may read models, tokenizers and "
                 "data from; repeatable");
  app.add_option("--allow-copies", a.options.allow_copies,
                 "address in an object store that jobs may copy checkpoints to, and read them from; repeatable");
  app.add_option("--allow-tracking", a.options.allow_tracking,
                 "address of a tracking server (http(s)://HOST[:PORT][/PATH]) that jobs may tell of their runs, it and "
                 "what lies below it; repeatable");
  app.add_option(
      "--trainer-user", a.options.trainer_user,
      "user of this machine that trainers run as, who gets the folders of jobs; by default the daemon's own. "
      "The daemon must be allowed to change users");
  app.add_option("--metrics", a.options.metrics, "HOST:PORT for /metrics, /livez and /readyz; port 0 is any free one");
  app.add_flag("--metrics-plain-http", a.options.metrics_plain_http,
               "serve them without TLS beyond loopback too, where the network itself is closed");
  app.add_option("--metrics-token", a.options.metrics_token,
                 "file of the token that who reads /metrics has to show (Authorization: Bearer); read again for each "
                 "request");
  app.add_option("--ready-file", a.options.ready_file,
                 "JSON with pid and metrics, written once the scheduler knows this worker");
  app.add_option("--label", a.labels, "k=v that jobs can ask for; repeatable");
  app.add_option("--memory-per-slot", a.memory, "such as 8GiB; by default what is available, shared by the slots");
  app.add_option("--trainer", a.options.trainer, "galleon-trainer, by default beside this program or GALLEON_TRAINER");
  app.add_option("--threads", a.options.threads, "CPU threads of a trainer; by default cores / slots");
  app.add_option("--interface", a.options.interface,
                 "interface or address for what trainers say to each other, which TLS does not cover; by default the "
                 "address by which this machine reaches the scheduler");
  app.add_option("--log-spool", a.spool, "log bytes of a rank that may wait for the scheduler")->capture_default_str();
  app.add_option("--token-cache-size", a.token_caches,
                 "bytes of tokens that jobs with the same data share below the folder of all jobs, longest unused gone "
                 "first; 0: each job makes its own")
      ->capture_default_str();
  app.add_option("--keep-free", a.keep_free,
                 "bytes of the jobs' disk: no new job is taken while less is left; by default 1GiB, or a fiftieth of a "
                 "smaller disk");
  app.add_option("--probe-every", a.probe, "seconds between two looks at whether ranks can run here")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_option("--log-format", a.log.format, "of this program's own log: text, or json, an object a line")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--log-level", a.log.level,
                 "what is logged from: debug, info, warning or error (default: GALLEON_LOG, else info)")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  app.add_option("--stop-grace", a.grace, "seconds that trainers get for a last checkpoint at SIGTERM")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

// What the options say together. 0, or the exit code, once it has been told what is wrong.
int complete(Arguments& a) {
  if (a.options.server.empty()) return fail("--server HOST:PORT is needed, or GALLEON_SERVER", 2);
  if (const auto list = parse_server_list(a.options.server); !list.ok())
    return fail(absl::StrCat("--server: ", list.status().message()), 2);
  if (!a.tls_folder.empty()) {
    absl::StatusOr<std::unique_ptr<TlsWatch>> watch = TlsWatch::start(a.tls_folder);
    if (!watch.ok()) return fail(absl::StrCat("--tls: ", std::string(watch.status().message())), 1);
    a.certificates = *std::move(watch);
    a.options.credentials = channel_credentials(*a.certificates);
    a.options.certificates = a.certificates.get();
    a.options.tls = a.tls_folder;
  }
  for (const std::string& label : a.labels) {
    const std::vector<std::string> pair = absl::StrSplit(label, absl::MaxSplits('=', 1));
    if (pair.size() != 2 || pair[0].empty()) return fail(absl::StrCat("--label ", label, ": k=v is accepted"), 2);
    a.options.labels[pair[0]] = pair[1];
  }
  if (!a.memory.empty()) {
    const std::optional<uint64_t> bytes = parse_bytes(a.memory);
    if (!bytes || *bytes == 0)
      return fail(absl::StrCat("--memory-per-slot ", a.memory, ": a size such as 8GiB is accepted"), 2);
    a.options.memory_per_slot = *bytes;
  }
  const std::optional<uint64_t> spool_bytes = parse_bytes(a.spool);
  if (!spool_bytes || *spool_bytes < 4096)
    return fail(absl::StrCat("--log-spool ", a.spool, ": at least 4KiB is accepted"), 2);
  a.options.spool_bytes = *spool_bytes;
  const std::optional<uint64_t> token_cache_bytes = parse_bytes(a.token_caches);
  if (!token_cache_bytes)
    return fail(absl::StrCat("--token-cache-size ", a.token_caches, ": a size such as 64GiB is accepted, or 0"), 2);
  a.options.token_cache_bytes = *token_cache_bytes;
  if (!a.keep_free.empty()) {
    const std::optional<uint64_t> bytes = parse_bytes(a.keep_free);
    if (!bytes || *bytes == 0)
      return fail(absl::StrCat("--keep-free ", a.keep_free, ": a size such as 10GiB is accepted"), 2);
    a.options.keep_free = *bytes;
  }
  a.options.stop_grace = absl::Seconds(a.grace);
  a.options.probe_interval = absl::Seconds(a.probe);
  return 0;
}

int run(int argc, char** argv) {
  // What jobs and this daemon write is for its user, and to read for its group.
  ::umask(::umask(0) | kOthersNothing);
  if (const std::optional<Supervision> rank = Supervision::from({argv + 1, argv + argc}); rank.has_value()) {
    init_logging("galleon-worker");
    return supervise(*rank);
  }
  // Threads begin with the first credentials.
  ServiceNotifier service = ServiceNotifier::from_environment();
  const sigset_t signals = block_end_signals();
  Arguments arguments = defaults();
  CLI::App app{"Runs the trainers that a Galleon scheduler assigns to this machine."};
  add_options(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (const int code = complete(arguments); code != 0) return code;
  FileDescriptor stop(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  arguments.options.stop_fd = stop.get();
  arguments.options.service = &service;
  init_logging("galleon-worker", arguments.log);
  const absl::Status status = run_daemon(arguments.options);
  if (status.ok()) return 0;
  if (arguments.log.format == "text") return fail(status.message(), 1);
  log_error(status.message());
  return 1;
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  return galleon::run(argc, argv);
}
