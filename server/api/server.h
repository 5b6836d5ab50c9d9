// The scheduler as a whole: journal, loop, services, endpoints. In a process of its own or inside a test.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "galleon/v1/job.pb.h"
#include "server/core/scheduler.h"

namespace galleon::server {

struct ServerOptions {
  std::string data;       // journal, lock, logs
  std::string store;      // SharedStoreOptions::url; empty: SQLite in `data`
  std::string advertise;  // "HOST:PORT" where others reach this one, of several; empty: as it listens
  absl::Duration store_lease = absl::Seconds(3);  // of the one that writes
  // One that stood by serves now, as an object that start() returned would. From another thread.
  std::function<void(const std::string& page_url)> on_serving;
  std::string listen;               // "HOST:PORT"; beyond loopback only with tls
  std::string metrics;              // "HOST:PORT": HTTP on loopback, beyond it HTTPS
  bool metrics_plain_http = false;  // HTTP beyond loopback too
  std::string metrics_token;        // HttpEndpointOptions::metrics_token
  std::string http;                 // "HOST:PORT" of the page and the JSON interface; empty: none
  std::string tls;     // folder with ca.pem, cert.pem, key.pem; empty: no TLS, and everybody may do everything
  std::string access;  // file of principals; empty: the certificates that `galleon admin init-tls` makes
  std::string queues;  // file that scheduler.queues are from, to be read again by reload(); empty: none
  std::string notify;  // file of who is told of what happens; empty: nobody is
  std::string otlp;    // HOST:PORT of who collects traces; empty: nobody does
  double requests_per_second = 20'000;  // of each caller
  std::string jobs;                     // jobs' own folders; empty: DATA/jobs
  // How a folder of a job is made; as every call to its file system, on a thread that nothing else waits for. The
  // default makes it and those above it.
  std::function<absl::Status(const std::string& path)> make_folder;
  absl::Duration jobs_patience = absl::Seconds(5);  // for that file system to answer, before serving begins without it
  uint64_t keep_free = 0;                           // of the disk of --data, which logs leave to the journal
  std::string planner;                              // galleon-trainer
  SchedulerOptions scheduler;
  const Clock* clock = nullptr;
  // Further checks of a submitted job; see ServiceContext.
  std::function<absl::Status(const v1::Job&)> validate_job;
  // After each round of the thread that decides, and on it.
  std::function<void()> on_round;
  // Between two calls to a receiver that does not take a notification: at first, doubled up to five minutes.
  absl::Duration notify_pause = absl::Seconds(1);
  // A commit has failed. The default ends the process with code 4; with 5 where another scheduler writes now.
  std::function<void(const absl::Status&)> on_fatal;
};

// Of an error of Server::start(): it is about the journal, which another start would not find otherwise.
inline constexpr char kJournalPayload[] = "galleon/journal";

class Server {
 public:
  // Serves when it returns, or stands by, where another scheduler of the same store serves. Errors: those of the
  // journal, of the addresses, of the folders.
  static absl::StatusOr<std::unique_ptr<Server>> start(const ServerOptions& options);
  // Not serving → open calls end with UNAVAILABLE → everything decided is durable → closed.
  ~Server();

  // Reads the files of queues, access and certificates again, all or none, and tells the log and the audit. `done` is
  // called once, from another thread.
  void reload(std::function<void()> done);

  // It stands by: whom it waits for, in words. Empty: it serves.
  std::string stands_by() const;
  const std::string& address() const;
  const std::string& metrics_address() const;
  // "http://127.0.0.1:7072/"; empty: none.
  std::string page_url() const;

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace galleon::server
