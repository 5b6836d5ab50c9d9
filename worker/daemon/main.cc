// galleon-worker: the daemon of one machine.
#include <signal.h>
#include <sys/signalfd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/net/tls_folder.h"
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

int run(int argc, char** argv) {
  // Hidden: FOLDER LOG -- COMMAND…
  if (argc >= 6 && absl::string_view(argv[1]) == "--supervise" && absl::string_view(argv[4]) == "--") {
    init_logging("galleon-worker");
    return supervise(argv[2], argv[3], {argv + 5, argv + argc});
  }
  DaemonOptions options;
  std::vector<std::string> labels;
  std::string memory;
  std::string spool = "64MiB";
  double grace = 60;
  const char* server = std::getenv("GALLEON_SERVER");
  if (server != nullptr) options.server = server;
  std::string tls_folder;
  if (const char* tls = std::getenv("GALLEON_TLS"); tls != nullptr) tls_folder = tls;
  const char* trainer = std::getenv("GALLEON_TRAINER");
  options.executable = absl::StrCat(executable_folder(), "/galleon-worker");
  options.trainer = trainer != nullptr ? trainer : absl::StrCat(executable_folder(), "/galleon-trainer");

  // Before any thread begins (gRPC's begin with the first credentials), so that all of them leave these signals to the
  // descriptor.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  CLI::App app{"Runs the trainers that a Galleon scheduler assigns to this machine."};
  app.footer(kExample);
  app.set_version_flag("--version", GALLEON_VERSION);
  app.add_option("--server", options.server, "HOST:PORT of the scheduler, or GALLEON_SERVER");
  app.add_option("--tls", tls_folder, "folder with ca.pem, cert.pem and key.pem, or GALLEON_TLS");
  app.add_option("--name", options.name, "of this worker, unique at its scheduler")->required();
  app.add_option("--data", options.data, "folder for what must outlive a restart of this daemon")->required();
  app.add_option("--slots", options.slots, "ranks that may run here at one time")
      ->check(CLI::Range(1, 1024))
      ->required();
#ifdef GALLEON_CUDA
  options.device = "auto";
#endif
  app.add_option("--device", options.device,
                 "what a slot is: cuda, one GPU; cpu, a share of the processors; auto, GPUs as far as there are some")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--allow", options.allow, "folder that jobs may read models, tokenizers and data from; repeatable");
  app.add_option("--metrics", options.metrics, "HOST:PORT for /metrics, /livez and /readyz; port 0 is any free one");
  app.add_flag("--metrics-plain-http", options.metrics_plain_http,
               "serve them without TLS beyond loopback too, where the network itself is closed");
  app.add_option("--ready-file", options.ready_file,
                 "JSON with pid and metrics, written once the scheduler knows this worker");
  app.add_option("--label", labels, "k=v that jobs can ask for; repeatable");
  app.add_option("--memory-per-slot", memory, "such as 8GiB; by default what is available, shared by the slots");
  app.add_option("--trainer", options.trainer, "galleon-trainer, by default beside this program or GALLEON_TRAINER");
  app.add_option("--threads", options.threads, "CPU threads of a trainer; by default cores / slots");
  app.add_option("--interface", options.interface,
                 "interface or address for what trainers say to each other, which TLS does not cover; by default the "
                 "address by which this machine reaches the scheduler");
  app.add_option("--log-spool", spool, "log bytes of a rank that may wait for the scheduler")->capture_default_str();
  app.add_option("--stop-grace", grace, "seconds that trainers get for a last checkpoint at SIGTERM")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (options.server.empty()) return fail("--server HOST:PORT is needed, or GALLEON_SERVER", 2);
  if (!tls_folder.empty()) {
    const absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> tls = watched_channel_credentials(tls_folder);
    if (!tls.ok()) return fail(absl::StrCat("--tls: ", std::string(tls.status().message())), 1);
    options.credentials = *tls;
    options.tls = tls_folder;
  }
  for (const std::string& label : labels) {
    const std::vector<std::string> pair = absl::StrSplit(label, absl::MaxSplits('=', 1));
    if (pair.size() != 2 || pair[0].empty()) return fail(absl::StrCat("--label ", label, ": k=v is accepted"), 2);
    options.labels[pair[0]] = pair[1];
  }
  if (!memory.empty()) {
    const std::optional<uint64_t> bytes = parse_bytes(memory);
    if (!bytes || *bytes == 0)
      return fail(absl::StrCat("--memory-per-slot ", memory, ": a size such as 8GiB is accepted"), 2);
    options.memory_per_slot = *bytes;
  }
  const std::optional<uint64_t> spool_bytes = parse_bytes(spool);
  if (!spool_bytes || *spool_bytes < 4096)
    return fail(absl::StrCat("--log-spool ", spool, ": at least 4KiB is accepted"), 2);
  options.spool_bytes = *spool_bytes;
  options.stop_grace = absl::Seconds(grace);

  FileDescriptor stop(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  options.stop_fd = stop.get();
  init_logging("galleon-worker");
  const absl::Status status = run_daemon(options);
  return status.ok() ? 0 : fail(status.message(), 1);
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  return galleon::run(argc, argv);
}
