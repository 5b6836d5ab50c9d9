#include "server/api/server.h"

#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/net/disk_space.h"
#include "common/net/http_endpoint.h"
#include "common/net/listen_address.h"
#include "common/net/server_tls.h"
#include "common/net/tls_folder.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "prometheus/collectable.h"
#include "server/api/log_files.h"
#include "server/api/loop.h"
#include "server/api/metrics.h"
#include "server/api/planner.h"
#include "server/api/services.h"
#include "server/api/task_thread.h"
#include "server/store/sqlite_journal.h"

namespace galleon::server {

namespace {

constexpr int kLargestMessage = 4 << 20;
constexpr int kExitJournal = 4;

// What the certificates of `galleon admin init-tls` stand for.
constexpr char kDefaultAccess[] =
    "principals:\n"
    "  admin: {certificate: admin, roles: {'*': operator}}\n"
    "  worker: {certificate: worker, roles: {'*': worker}}\n";

struct Security {
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
  // gRPC takes what is no certificate, and then cannot listen.
  if (absl::Status usable = ServerTls::load(options.tls).status(); !usable.ok()) return usable;
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = server_credentials(options.tls);
  if (!credentials.ok()) return credentials.status();
  absl::StatusOr<Access> access =
      options.access.empty() ? Access::parse(kDefaultAccess, "access") : Access::load(options.access);
  if (!access.ok()) return access.status();
  made.credentials = *std::move(credentials);
  made.access = *std::move(access);
  return made;
}

std::unique_ptr<grpc::Server> serve(const ListenAddress& address,
                                    const std::shared_ptr<grpc::ServerCredentials>& credentials,
                                    const std::vector<StoppableService*>& services, int* port) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(to_string(address), credentials, port);
  // Two schedulers on one port would each get half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1'000);
  builder.SetMaxReceiveMessageSize(kLargestMessage);
  builder.SetMaxSendMessageSize(kLargestMessage);
  for (StoppableService* service : services) builder.RegisterService(service->service());
  return builder.BuildAndStart();
}

}  // namespace

struct Server::Parts {
  // The threads end before what they use.
  ~Parts() {
    if (planner != nullptr) planner->shut_down();
    if (loop != nullptr) loop->stop();
  }

  SystemClock system_clock;
  std::unique_ptr<SqliteJournal> journal;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<LogFiles> logs;
  Access access = Access::open();
  std::unique_ptr<RateLimit> rates;
  std::unique_ptr<Audit> audit;
  TaskThread cleaner;
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Planner> planner;
  std::unique_ptr<StoppableService> jobs;
  std::unique_ptr<StoppableService> workers;
  std::unique_ptr<StoppableService> queues;
  std::unique_ptr<StoppableService> admin;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<HttpEndpoint> endpoint;
  std::atomic<bool> serving{false};
  std::string address;
};

absl::StatusOr<std::unique_ptr<Server>> Server::start(ServerOptions options) {
  absl::StatusOr<ListenAddress> listen = parse_listen_address(options.listen);
  if (!listen.ok()) return listen.status();
  absl::StatusOr<Security> secured = security(options, *listen);
  if (!secured.ok()) return secured.status();
  auto parts = std::make_unique<Parts>();
  const std::string data = std::filesystem::absolute(options.data).lexically_normal().string();
  const std::string jobs =
      options.jobs.empty() ? data + "/jobs" : std::filesystem::absolute(options.jobs).lexically_normal().string();
  absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(data);
  if (!journal.ok()) return journal.status();
  parts->journal = *std::move(journal);
  if (absl::Status status = make_folders(jobs); !status.ok()) return status;

  parts->metrics = std::make_unique<Metrics>(options.scheduler.version);
  parts->logs = std::make_unique<LogFiles>(data + "/logs");
  Loop::Options loop;
  loop.scheduler = options.scheduler;
  loop.clock = options.clock == nullptr ? &parts->system_clock : options.clock;
  loop.journal = parts->journal.get();
  loop.metrics = parts->metrics.get();
  loop.on_fatal = options.on_fatal ? options.on_fatal : [](const absl::Status&) { ::_exit(kExitJournal); };
  loop.on_forgotten = [parts = parts.get()](std::vector<std::string> gone) {
    parts->cleaner.post([parts, gone = std::move(gone)] {
      for (const std::string& id : gone) parts->logs->remove(id);
    });
  };
  parts->loop = std::make_unique<Loop>(std::move(loop));
  if (absl::Status status = parts->loop->recover(); !status.ok()) return status;
  parts->planner = std::make_unique<Planner>(options.planner, data + "/planner");

  parts->access = std::move(secured->access);
  parts->rates = std::make_unique<RateLimit>(&parts->system_clock, options.requests_per_second);
  parts->audit = std::make_unique<Audit>(data);
  ServiceContext context;
  context.loop = parts->loop.get();
  context.planner = parts->planner.get();
  context.logs = parts->logs.get();
  context.metrics = parts->metrics.get();
  context.journal = parts->journal.get();
  context.access = &parts->access;
  context.rates = parts->rates.get();
  context.audit = parts->audit.get();
  context.jobs_folder = jobs;
  context.backup_folder = data + "/backup";
  context.validate_job = options.validate_job;
  parts->jobs = make_job_service(context);
  parts->workers = make_worker_service(context);
  parts->queues = make_queue_service(context);
  parts->admin = make_admin_service(context);
  HttpEndpointOptions http;
  http.listen = options.metrics;
  secure_endpoint(options.tls, options.metrics_plain_http, http);
  http.metrics = std::make_shared<WithDiskSpace>(parts->metrics->collectable(), data);
  http.ready = [serving = &parts->serving] {
    return *serving ? absl::OkStatus() : absl::UnavailableError("the scheduler does not serve");
  };
  absl::StatusOr<std::unique_ptr<HttpEndpoint>> endpoint = HttpEndpoint::start(std::move(http));
  if (!endpoint.ok()) return endpoint.status();
  parts->endpoint = *std::move(endpoint);
  parts->loop->start();
  int port = 0;
  parts->server = serve(*listen, secured->credentials,
                        {parts->jobs.get(), parts->workers.get(), parts->queues.get(), parts->admin.get()}, &port);
  if (parts->server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options.listen, "; it is taken, or not an address of this machine"));
  }
  listen->port = static_cast<uint16_t>(port);
  parts->address = to_string(*listen);
  parts->serving = true;
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() {
  parts_->serving = false;
  parts_->server->GetHealthCheckService()->SetServingStatus(false);
  parts_->planner->shut_down();
  parts_->jobs->shut_down();
  parts_->workers->shut_down();
  parts_->admin->shut_down();
  parts_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  parts_->server->Wait();
}

const std::string& Server::address() const {
  return parts_->address;
}
const std::string& Server::metrics_address() const {
  return parts_->endpoint->address();
}

}  // namespace galleon::server
