#include "server/api/server.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/disk_guard.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/net/certificate_expiry.h"
#include "common/net/connection_metrics.h"
#include "common/net/disk_space.h"
#include "common/net/grpc_faults.h"
#include "common/net/http_endpoint.h"
#include "common/net/listen_address.h"
#include "common/net/own_metrics.h"
#include "common/net/tls_folder.h"
#include "common/net/tls_watch.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "prometheus/collectable.h"
#include "server/api/call_server.h"
#include "server/api/folder_removal.h"
#include "server/api/job_folders.h"
#include "server/api/log_files.h"
#include "server/api/log_tally.h"
#include "server/api/loop.h"
#include "server/api/metrics.h"
#include "server/api/planner.h"
#include "server/api/queue_file.h"
#include "server/api/recovered_state.h"
#include "server/api/reload.h"
#include "server/api/services.h"
#include "server/api/serving_metrics.h"
#include "server/api/standby.h"
#include "server/api/submit_rates.h"
#include "server/api/task_thread.h"
#include "server/api/tracer.h"
#include "server/core/transitions.h"
#include "server/http/http_server.h"
#include "server/notify/notifier.h"
#include "server/store/shared_store.h"
#include "server/store/sqlite_journal.h"

namespace galleon::server {

namespace {

constexpr int kReaderThreads = 2;
constexpr int kBacklog = 1024;
constexpr int kExitNoJournal = 3;  // as at a start: another would not find it otherwise
constexpr int kExitJournal = 4;
constexpr int kExitTermOver = 5;
constexpr absl::Duration kLookPause = absl::Milliseconds(200);  // of one that stands by
constexpr absl::Duration kFollowPause = absl::Minutes(1);       // before what could not be followed is tried again
constexpr int64_t kLogsPauseMs = 500;                           // between two looks at how much is kept

// What the certificates of `galleon admin init-tls` stand for.
constexpr char kDefaultAccess[] =
    "principals:\n"
    "  admin: {certificate: admin, roles: {'*': operator}}\n"
    "  worker: {certificate: worker, roles: {'*': worker}}\n";

struct Security {
  std::unique_ptr<TlsWatch> certificates;  // null: no TLS
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  Access access = Access::open();
};

absl::StatusOr<Security> security(const ServerOptions& options, const ListenAddress& listen) {
  Security made;
  if (options.tls.empty()) {
    if (!options.access.empty()) return absl::FailedPreconditionError("--access needs --tls");
    const absl::Status status = require_loopback(listen, "--listen");
    if (status.ok()) return made;
    return absl::FailedPreconditionError(
        absl::StrCat(std::string(status.message()), "; or give --tls FOLDER, which galleon admin init-tls makes"));
  }
  ASSIGN_OR_RETURN(made.certificates, TlsWatch::start(options.tls));
  ASSIGN_OR_RETURN(made.credentials, server_credentials(*made.certificates));
  ASSIGN_OR_RETURN(Access access,
                   options.access.empty() ? Access::parse(kDefaultAccess, "access") : Access::load(options.access));
  made.access = std::move(access);
  return made;
}

void end_process(const absl::Status& status) {
  ::_exit(is_term_over(status) ? kExitTermOver : kExitJournal);
}

// Of one that stood by, and cannot serve.
void end_standby(const absl::Status& status) {
  const bool unusable = absl::IsDataLoss(status) || absl::IsFailedPrecondition(status);
  unusable ? ::_exit(kExitNoJournal) : end_process(status);
}

}  // namespace

struct Server::Parts {
  explicit Parts(const ServerOptions& options)
      : data(std::filesystem::absolute(options.data).lexically_normal().string()),
        jobs_folder(options.jobs.empty() ? data + "/jobs"
                                         : std::filesystem::absolute(options.jobs).lexically_normal().string()) {}
  // The threads end before what they use.
  ~Parts() {
    stop_waiting();
    standby.reset();
    if (planner != nullptr) planner->shut_down();
    reload.reset();
    if (loop != nullptr) loop->stop();
    notifier.reset();
    metric_files.reset();
    tracer.reset();
    removals.reset();
    folders.reset();
  }

  // The state, as the journal has it, and whom it is for.
  absl::Status recover(const ServerOptions& options);
  absl::Status make_notifier(const ServerOptions& options);
  std::function<void()> log_count();
  void make_services(const ServerOptions& options);
  void hand_over_attached();
  absl::Status serve_metrics(const ServerOptions& options);
  absl::Status bind(const ListenAddress& listen);
  absl::Status serve_calls();
  // All that comes after the journal is there.
  absl::Status begin(const ServerOptions& options);
  // Of a store that is shared: takes the term if it is free, or stands by until it is.
  absl::Status begin_shared(const ServerOptions& options);
  absl::StatusOr<bool> take_if_free();
  // Keeps up with the one that writes, so that a takeover reads the last moments alone.
  void follow();
  void wait_for_term(ServerOptions options);
  void stop_waiting();
  Standby::Answer answer() const;
  absl::Status serve_page(const ServerOptions& options);

  const std::string data;
  const std::string jobs_folder;
  SystemClock system_clock;
  std::unique_ptr<SharedStore> store;  // null: SQLite's, in `data`
  std::unique_ptr<Journal> journal;
  RecoveredState recovered;
  absl::Duration follow_next = -absl::InfiniteDuration();
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<LogFiles> logs;
  LogTally log_tally;
  std::unique_ptr<MetricFiles> metric_files;
  std::unique_ptr<DiskGuard> disk;
  std::unique_ptr<SubmitRates> submits;
  std::unique_ptr<TlsWatch> certificates;  // null: no TLS
  AccessInForce access{Access::open()};
  std::unique_ptr<RateLimit> rates;
  OpenCalls open_calls{OpenCalls::Bounds()};
  Readers readers{kReaderThreads};
  std::unique_ptr<Audit> audit;
  TaskThread cleaner;
  std::unique_ptr<JobFolders> folders;
  std::unique_ptr<JobFolders> removals;  // the same file system, for what takes long
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Planner> planner;
  Resolver resolver;
  std::unique_ptr<Attachments> attachments;
  std::unique_ptr<Notifier> notifier;
  std::unique_ptr<Tracer> tracer;  // null: nobody is told
  std::unique_ptr<Reload> reload;
  std::unique_ptr<StoppableService> jobs;
  std::unique_ptr<StoppableService> groups;
  std::unique_ptr<StoppableService> workers;
  std::unique_ptr<StoppableService> queues;
  std::unique_ptr<StoppableService> admin;
  std::shared_ptr<grpc::ServerCredentials> credentials;
  std::optional<ListenSocket> bound;
  std::unique_ptr<Standby> standby;
  mutable std::mutex waiting_mutex;
  std::condition_variable waiting_changed;
  bool waiting_ends = false;
  Standby::Answer waits_for;     // an empty sentence: it does not wait
  bool follows = false;          // it has read what the one that writes has written
  bool could_take_over = false;  // it stands by, follows, and the store answered when it was asked last
  std::thread waiting;
  std::unique_ptr<CallServer> calls;
  std::unique_ptr<HttpEndpoint> endpoint;
  std::unique_ptr<HttpServer> page;
  const std::string inside = random_hex(32);
  std::atomic<bool> serving{false};
  std::string address;
};

absl::Status Server::Parts::recover(const ServerOptions& options) {
  if (journal == nullptr) {
    absl::StatusOr<std::unique_ptr<SqliteJournal>> opened = SqliteJournal::open(data);
    if (!opened.ok()) {
      absl::Status status = opened.status();
      status.SetPayload(kJournalPayload, absl::Cord());
      return status;
    }
    journal = *std::move(opened);
  }
  logs = std::make_unique<LogFiles>(data + "/logs");
  folders = std::make_unique<JobFolders>(jobs_folder, options.make_folder ? options.make_folder : make_folders);
  removals = std::make_unique<JobFolders>(jobs_folder, make_folders);
  metric_files = std::make_unique<MetricFiles>(jobs_folder);
  Loop::Options with;
  with.removals = removals.get();
  with.remove = [this, files = *logs, root = jobs_folder](const v1::FolderRemoval& removal) {
    files.remove(removal.job_id());
    log_tally.remove(removal.job_id());
    return removal.folder().empty() ? absl::OkStatus() : remove_below(root, removal.job_id(), removal.kept());
  };
  with.scheduler = options.scheduler;
  with.scheduler.jobs_folder = jobs_folder;
  with.clock = options.clock == nullptr ? &system_clock : options.clock;
  with.journal = journal.get();
  with.metrics = metrics.get();
  with.folders = folders.get();
  with.on_fatal = options.on_fatal ? options.on_fatal : end_process;
  with.on_forgotten = [this](std::vector<v1::JobForgotten> gone) {
    cleaner.post([this, gone = std::move(gone)] {
      for (const v1::JobForgotten& job : gone) {
        audit->record("", "retention", "ForgetJob", absl::StrCat("jobs/", job.job_id(), ": ", job.reason()),
                      absl::OkStatus());
        if (!job.has_removal()) logs->remove(job.job_id());
        log_tally.remove(job.job_id());
      }
    });
  };
  with.compact_first = store == nullptr;
  RETURN_IF_ERROR(journal->load(recovered.recovery()));
  recovered.pack();
  loop = std::make_unique<Loop>(std::move(with), recovered.take());
  RETURN_IF_ERROR(make_notifier(options));
  loop->add_round_observer([this, next_ms = int64_t{0}](Scheduler&, Now now) mutable {
    if (now.mono_ms < next_ms) return;
    next_ms = now.mono_ms + kLogsPauseMs;
    metrics->logs_kept(log_tally.projects());
  });
  if (!options.otlp.empty()) {
    tracer = std::make_unique<Tracer>(options.otlp, options.scheduler.version);
    loop->add_round_observer([this](Scheduler& scheduler, Now) { tracer->feed(scheduler); });
  }
  if (options.on_round) loop->add_round_observer([told = options.on_round](Scheduler&, Now) { told(); });
  loop->recovered();
  return folders->open(loop->next_job_number(), options.jobs_patience);
}

absl::Status Server::Parts::bind(const ListenAddress& listen) {
  absl::StatusOr<ListenSocket> made = listen_tcp(listen, kBacklog);
  if (!made.ok()) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", to_string(listen),
                                               "; it is taken, or not an address of this machine (",
                                               std::string(made.status().message()), ")"));
  }
  bound = *std::move(made);
  address = to_string(bound->address);
  return absl::OkStatus();
}

absl::Status Server::Parts::make_notifier(const ServerOptions& options) {
  NotifyConfig config;
  if (!options.notify.empty()) {
    ASSIGN_OR_RETURN(config, load_notify(options.notify));
    std::set<std::string> known;
    for (const QueueConfig& queue : options.scheduler.queues) known.insert(queue.id);
    RETURN_IF_ERROR(check_queues(config, known));
  }
  loop->set_long_wait(config.waiting);
  Notifier::Options with;
  with.clock = options.clock == nullptr ? &system_clock : options.clock;
  with.counted = [this](const std::string& receiver, SendResult result) { metrics->notified(receiver, result); };
  with.sending.first_pause = options.notify_pause;
  notifier = std::make_unique<Notifier>(std::move(with));
  notifier->replace(std::move(config));
  loop->add_round_observer([this](Scheduler& scheduler, Now now) {
    notifier->feed(scheduler, now);
    metrics->notifications_behind(notifier->behind());
  });
  return absl::OkStatus();
}

// What was kept before this process, by whom it is for.
std::function<void()> Server::Parts::log_count() {
  // Not in the function itself: it is copied with the context, and there may be hundreds of thousands of jobs.
  const auto jobs_there = std::make_shared<std::vector<std::pair<std::string, LogTally::Owner>>>();
  jobs_there->reserve(loop->state().jobs().size());
  for (const auto& [number, entry] : loop->state().jobs()) {
    const JobFacts facts = entry.facts();
    jobs_there->push_back(
        {std::string(facts.job_id), LogTally::Owner{std::string(facts.project), std::string(facts.owner)}});
  }
  return [this, jobs_there] {
    for (const auto& [id, owner] : std::exchange(*jobs_there, {})) {
      if (const uint64_t bytes = logs->size_of_job(id); bytes > 0) log_tally.add(id, owner, bytes);
    }
  };
}

// A process that ended may have left undone what comes behind the journal's entry.
void Server::Parts::hand_over_attached() {
  for (const auto& [number, entry] : loop->state().jobs()) {
    const JobFacts facts = entry.facts();
    if (is_terminal(facts.state)) continue;
    const v1::JobState* job = loop->state().job(facts.job_id);
    if (job == nullptr || job->record().job().attached().empty()) continue;
    const v1::JobRecord& record = job->record();
    attachments->hand_over(record.owner(), record.request_id(), record.folder());
  }
  attachments->sweep();
}

void Server::Parts::make_services(const ServerOptions& options) {
  planner = std::make_unique<Planner>(options.planner, data + "/planner");
  rates = std::make_unique<RateLimit>(&system_clock, options.requests_per_second);
  audit = std::make_unique<Audit>(data, &system_clock);
  submits = std::make_unique<SubmitRates>(options.clock == nullptr ? &system_clock : options.clock);
  Reload::Options files;
  files.queues = options.queues;
  files.access = options.access;
  files.notify = options.notify;
  files.notifier = notifier.get();
  if (certificates != nullptr) files.certificates = [this] { return certificates->refresh(); };
  files.loop = loop.get();
  files.in_force = &access;
  files.rates = rates.get();
  files.metrics = metrics.get();
  reload = std::make_unique<Reload>(std::move(files));
  ServiceContext context;
  context.loop = loop.get();
  context.folders = folders.get();
  context.planner = planner.get();
  context.resolver = &resolver;
  attachments = std::make_unique<Attachments>(jobs_folder, folders.get());
  hand_over_attached();
  context.attachments = attachments.get();
  context.logs = logs.get();
  context.log_tally = &log_tally;
  context.metric_files = metric_files.get();
  context.count_logs = log_count();
  // statvfs is asked once in a while, not for each piece of a log.
  context.log_space = [this, next = absl::Duration(), full = std::string()]() mutable {
    const absl::Duration now = system_clock.monotonic();
    if (now >= next) {
      full = disk->look();
      next = now + absl::Seconds(1);
    }
    return full;
  };
  context.submits = submits.get();
  context.metrics = metrics.get();
  context.journal = journal.get();
  context.access = &access;
  context.rates = rates.get();
  context.open_calls = &open_calls;
  context.readers = &readers;
  context.audit = audit.get();
  context.reload = reload.get();
  context.jobs_folder = jobs_folder;
  context.inside = inside;
  context.backup_folder = data + "/backup";
  context.validate_job = options.validate_job;
  jobs = make_job_service(context);
  groups = make_group_service(context);
  workers = make_worker_service(context);
  queues = make_queue_service(context);
  admin = make_admin_service(context);
}

absl::Status Server::Parts::serve_metrics(const ServerOptions& options) {
  HttpEndpointOptions http;
  http.listen = options.metrics;
  secure_endpoint(options.tls, options.metrics_plain_http, http);
  http.metrics_token = options.metrics_token;
  http.metrics = std::make_shared<WithDiskSpace>(metrics->collectable(), data, disk.get());
  http.metrics = std::make_shared<WithConnections>(
      http.metrics, [this] { return serving ? calls->connections() : Doorkeeper::Counts(); });
  http.metrics = std::make_shared<WhileServing>(http.metrics, [this] { return serving.load(); });
  if (certificates != nullptr) http.metrics = std::make_shared<WithCertificate>(http.metrics, certificates.get());
  http.metrics = std::make_shared<WithProcess>(http.metrics, "galleon-scheduler", options.scheduler.version);
  http.leads = [this] {
    if (serving) return absl::OkStatus();
    const std::string waits = answer().sentence;
    return absl::UnavailableError(waits.empty() ? "the scheduler does not serve" : waits);
  };
  // One that stands by is ready to: it does all that there is to do for it, and others can be taken away meanwhile.
  http.ready = [this, leads = http.leads] {
    {
      const std::lock_guard<std::mutex> lock(waiting_mutex);
      if (could_take_over) return absl::OkStatus();
    }
    return leads();
  };
  http.alive = [this] { return serving ? calls->alive() : absl::OkStatus(); };
  ASSIGN_OR_RETURN(endpoint, HttpEndpoint::start(std::move(http)));
  return absl::OkStatus();
}

absl::Status Server::Parts::serve_calls() {
  CallServer::Options with;
  with.tls = certificates != nullptr;
  with.credentials = credentials;
  with.add_services = [this](grpc::ServerBuilder& builder) {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    for (const auto* service : {&jobs, &groups, &workers, &queues, &admin})
      builder.RegisterService((*service)->service());
  };
  ASSIGN_OR_RETURN(calls, CallServer::start(*std::exchange(bound, std::nullopt), std::move(with)));
  serving = true;
  return absl::OkStatus();
}

// Its calls go through the services as those from outside do.
absl::Status Server::Parts::serve_page(const ServerOptions& options) {
  if (options.http.empty()) return absl::OkStatus();
  HttpOptions with;
  with.listen = options.http;
  with.certificates = certificates.get();
  with.anybody = certificates == nullptr;
  with.inside = inside;
  with.access_generation = [this] { return access.generation(); };
  with.channel = calls->channel();
  with.version = options.scheduler.version;
  ASSIGN_OR_RETURN(page, HttpServer::start(std::move(with)));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Server>> Server::start(const ServerOptions& options) {
  ASSIGN_OR_RETURN(const ListenAddress listen, parse_listen_address(options.listen));
  ASSIGN_OR_RETURN(Security secured, security(options, listen));
  auto parts = std::make_unique<Parts>(options);
  parts->certificates = std::move(secured.certificates);
  parts->credentials = std::move(secured.credentials);
  parts->access.replace(std::move(secured.access));
  parts->metrics = std::make_unique<Metrics>();
  parts->disk = std::make_unique<DiskGuard>(options.keep_free, parts->data);
  // Without TLS only this machine reaches the port.
  if (const std::string faults = known_grpc_faults(grpc::Version()); !faults.empty() && !options.tls.empty())
    log_warning(faults);
  if (!options.store.empty()) {
    RETURN_IF_ERROR(parts->bind(listen));
    RETURN_IF_ERROR(parts->begin_shared(options));
    return std::unique_ptr<Server>(new Server(std::move(parts)));
  }
  RETURN_IF_ERROR(parts->recover(options));
  parts->make_services(options);
  RETURN_IF_ERROR(parts->serve_metrics(options));
  parts->loop->start();
  RETURN_IF_ERROR(parts->bind(listen));
  RETURN_IF_ERROR(parts->serve_calls());
  RETURN_IF_ERROR(parts->serve_page(options));
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

absl::Status Server::Parts::begin(const ServerOptions& options) {
  RETURN_IF_ERROR(recover(options));
  make_services(options);
  loop->start();
  RETURN_IF_ERROR(serve_calls());
  return serve_page(options);
}

absl::StatusOr<bool> Server::Parts::take_if_free() {
  ASSIGN_OR_RETURN(const SharedStore::Standing seen, store->look());
  if (seen.free) {
    absl::StatusOr<std::unique_ptr<Journal>> taken = store->take(seen);
    if (taken.ok()) {
      journal = *std::move(taken);
      return true;
    }
    // Another was faster, and is looked at next.
    if (taken.status().code() != absl::StatusCode::kAlreadyExists) return taken.status();
    return false;
  }
  const std::lock_guard<std::mutex> lock(waiting_mutex);
  waits_for.writer = seen.advertise;
  waits_for.sentence = absl::StrCat("this scheduler stands by; the one at ", seen.advertise, " (", seen.holder,
                                    ") serves, in term ", seen.term);
  could_take_over = follows;
  return false;
}

void Server::Parts::follow() {
  const absl::Duration now = system_clock.monotonic();
  if (now < follow_next) return;
  const absl::Status status = store->follow(recovered.recovery());
  recovered.pack();
  if (absl::IsUnavailable(status)) return;
  const std::lock_guard<std::mutex> lock(waiting_mutex);
  could_take_over = follows = status.ok();
  if (follows) return;
  follow_next = now + kFollowPause;
  log_warning("this scheduler stands by and cannot follow the one that serves: ", std::string(status.message()));
}

absl::Status Server::Parts::begin_shared(const ServerOptions& options) {
  SharedStoreOptions with;
  with.url = options.store;
  with.data = data;
  with.advertise = options.advertise.empty() ? address : options.advertise;
  with.clock = &system_clock;
  with.lease = options.store_lease;
  with.on_over = [fatal = options.on_fatal](const absl::Status& status) {
    log_error(std::string(status.message()), "; this one ends");
    fatal ? fatal(status) : end_process(status);
  };
  const auto of_the_journal = [](absl::Status status) {
    if (!status.ok()) status.SetPayload(kJournalPayload, absl::Cord());
    return status;
  };
  absl::StatusOr<std::unique_ptr<SharedStore>> opened = open_shared_store(with);
  if (!opened.ok()) return of_the_journal(opened.status());
  store = *std::move(opened);
  RETURN_IF_ERROR(serve_metrics(options));
  const absl::StatusOr<bool> taken = take_if_free();
  if (!taken.ok()) return of_the_journal(taken.status());
  if (*taken) return begin(options);
  {
    const std::lock_guard<std::mutex> lock(waiting_mutex);
    if (waits_for.sentence.empty()) waits_for.sentence = "this scheduler stands by; another begins to serve";
  }
  ListenSocket same{FileDescriptor(::fcntl(bound->socket.get(), F_DUPFD_CLOEXEC, 0)), bound->address};
  if (!same.socket.valid()) return errno_status("cannot use", address, errno);
  ASSIGN_OR_RETURN(standby,
                   Standby::start(std::move(same), certificates != nullptr, credentials, [this] { return answer(); }));
  log_info(answer().sentence);
  waiting = std::thread([this, options] { wait_for_term(options); });
  return absl::OkStatus();
}

void Server::Parts::wait_for_term(ServerOptions options) {
  const auto fatal = [&options](const absl::Status& status) {
    log_error(std::string(status.message()), "; this scheduler ends");
    options.on_fatal ? options.on_fatal(status) : end_standby(status);
  };
  bool told = false;
  while (true) {
    {
      std::unique_lock<std::mutex> lock(waiting_mutex);
      if (waiting_changed.wait_for(lock, absl::ToChronoMilliseconds(kLookPause), [this] { return waiting_ends; }))
        return;
    }
    if (options.on_round) options.on_round();
    const absl::StatusOr<bool> taken = take_if_free();
    if (taken.ok() && *taken) break;
    if (taken.ok()) {
      told = false;
      follow();
      continue;
    }
    if (taken.status().code() != absl::StatusCode::kUnavailable) return fatal(taken.status());
    const std::string reason = absl::StrCat("this scheduler stands by; ", std::string(taken.status().message()));
    if (!told) log_warning(reason);
    told = true;
    const std::lock_guard<std::mutex> lock(waiting_mutex);
    waits_for = {reason, ""};
    could_take_over = false;
  }
  {
    const std::lock_guard<std::mutex> lock(waiting_mutex);
    could_take_over = false;
  }
  log_info("nobody else serves: this scheduler takes over");
  // What has been changed in these files while it stood by.
  if (!options.queues.empty()) {
    absl::StatusOr<QueueFile> queues_file = load_queues(options.queues);
    if (queues_file.ok()) {
      options.scheduler.queues = std::move(queues_file->queues);
      options.scheduler.projects = std::move(queues_file->projects);
    } else {
      log_warning("--queues stays as it was: ", std::string(queues_file.status().message()));
    }
  }
  if (!options.access.empty()) {
    absl::StatusOr<Access> fresh = Access::load(options.access);
    if (fresh.ok()) {
      access.replace(*std::move(fresh));
    } else {
      log_warning("--access stays as it was: ", std::string(fresh.status().message()));
    }
  }
  standby.reset();
  if (const absl::Status status = begin(options); !status.ok()) return fatal(status);
  {
    const std::lock_guard<std::mutex> lock(waiting_mutex);
    waits_for = {};
  }
  if (options.on_serving) options.on_serving(page == nullptr ? "" : page->url());
}

void Server::Parts::stop_waiting() {
  {
    const std::lock_guard<std::mutex> lock(waiting_mutex);
    waiting_ends = true;
  }
  waiting_changed.notify_all();
  if (waiting.joinable()) waiting.join();
}

Standby::Answer Server::Parts::answer() const {
  const std::lock_guard<std::mutex> lock(waiting_mutex);
  return waits_for;
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() {
  parts_->stop_waiting();
  if (parts_->calls == nullptr) return;
  parts_->serving = false;
  parts_->page.reset();
  parts_->calls->close_door();
  parts_->calls->set_healthy(false);
  parts_->planner->shut_down();
  parts_->jobs->shut_down();
  parts_->workers->shut_down();
  parts_->admin->shut_down();
  parts_->calls->shut_down(absl::Seconds(1));
}

std::string Server::stands_by() const {
  return parts_->serving ? "" : parts_->answer().sentence;
}

void Server::reload(std::function<void()> done) {
  if (!parts_->serving) {
    log_info("this scheduler stands by: it reads its files again when it takes over");
    return done();
  }
  parts_->reload->start(false, [this, done = std::move(done)](const absl::StatusOr<v1::ReloadResponse>& response) {
    tell_reload(response);
    parts_->audit->record("", "signal", "Reload", response.ok() ? summary(*response) : "", response.status());
    done();
  });
}

const std::string& Server::address() const {
  return parts_->address;
}
const std::string& Server::metrics_address() const {
  return parts_->endpoint->address();
}
std::string Server::page_url() const {
  return parts_->page == nullptr ? "" : parts_->page->url();
}

}  // namespace galleon::server
