// Durable submits over mutual TLS, with server and load in one process.
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/net/certificates.h"
#include "common/net/tls_folder.h"
#include "figures.h"
#include "galleon/v1/jobs.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "server/api/server.h"

namespace galleon::bench {

void write_planner(const std::string& planner) {
  (void)write_file_atomically(planner + ".plan", plan_of(1, 100 << 20).SerializeAsString());
  (void)write_file_atomically(planner, "#!/bin/sh\ncat " + planner + ".plan\n");
  ::chmod(planner.c_str(), 0755);
}

Json submits(double seconds, int in_flight, int queued, const std::string& store) {
  const Folder folder;
  server::ServerOptions options;
  options.data = folder.path + "/data";
  options.store = store;
  options.listen = "127.0.0.1:0";
  options.metrics = "127.0.0.1:0";
  options.tls = folder.path + "/tls/server";
  options.requests_per_second = 1e6;
  options.planner = folder.path + "/planner";
  options.scheduler.version = "1";
  if (!init_tls(folder.path + "/tls", {}, absl::Hours(24)).ok()) std::abort();
  write_planner(options.planner);
  absl::StatusOr<std::unique_ptr<server::Server>> server = server::Server::start(options);
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", std::string(server.status().message()).c_str());
    std::abort();
  }
  const auto channel =
      grpc::CreateChannel((*server)->address(), channel_credentials(*load_tls_folder(folder.path + "/tls/admin")));
  const auto stub = v1::JobService::NewStub(channel);
  grpc::CompletionQueue queue;
  struct Call {
    grpc::ClientContext context;
    v1::CreateJobRequest request;
    v1::JobRecord response;
    grpc::Status status;
    absl::Time start = absl::Now();
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::JobRecord>> reader;
  };
  int64_t number = 0;
  const auto start_call = [&] {
    auto* call = new Call;
    *call->request.mutable_job() = job_named("bench");
    call->request.set_request_id(absl::StrCat("r", ++number));
    call->reader = stub->AsyncCreateJob(&call->context, call->request, &queue);
    call->reader->Finish(&call->response, &call->status, call);
  };
  std::vector<double> latencies;
  int64_t failed = 0;
  const auto finish_call = [&](bool counts) {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    const std::unique_ptr<Call> call(static_cast<Call*>(tag));
    failed += !call->status.ok();
    if (counts) latencies.push_back(absl::ToDoubleMilliseconds(absl::Now() - call->start));
  };
  for (int i = 0; i < in_flight; ++i) start_call();
  for (int i = 0; i < std::max(2'000, queued); ++i) {
    finish_call(false);
    start_call();
  }
  const absl::Time begin = absl::Now();
  while (absl::Now() - begin < absl::Seconds(seconds)) {
    finish_call(true);
    start_call();
  }
  const double took = absl::ToDoubleSeconds(absl::Now() - begin);
  for (int i = 0; i < in_flight; ++i) finish_call(false);
  std::sort(latencies.begin(), latencies.end());
  return {{"in_flight", in_flight},
          {"queued_before", std::max(2'000, queued)},
          {"submits", latencies.size()},
          {"failed", failed},
          {"per_second", static_cast<double>(latencies.size()) / took},
          {"median_ms", latencies[latencies.size() / 2]},
          {"p99_ms", latencies[latencies.size() * 99 / 100]}};
}

}  // namespace galleon::bench
