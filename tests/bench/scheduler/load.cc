// What callers see of a scheduler that runs already: submits, cancels, lists over all that has ended, and how long a
// worker waits for its answers while others list.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "figures.h"
#include "galleon/v1/jobs.grpc.pb.h"
#include "galleon/v1/workers.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "whole_job.h"

namespace galleon::bench {
namespace {

constexpr int kInFlight = 32;
constexpr int kListsInFlight = 3;  // pages of a thousand, up to 4 MiB: a caller may have 16 MiB of answers waiting

std::shared_ptr<grpc::Channel> channel_to(const std::string& address) {
  grpc::ChannelArguments apart;
  apart.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  apart.SetMaxReceiveMessageSize(64 << 20);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), apart);
}

// Runs calls 0 to count - 1, `in_flight` at a time; the seconds that it took. One that fails ends the process.
double run_calls(int count, const std::function<grpc::Status(int)>& call, int in_flight = kInFlight) {
  std::atomic<int> next = 0;
  const absl::Time begin = absl::Now();
  std::vector<std::thread> threads;
  for (int t = 0; t < in_flight; ++t) {
    threads.emplace_back([&] {
      for (int i = next++; i < count; i = next++) {
        const grpc::Status status = call(i);
        if (status.ok()) continue;
        std::fprintf(stderr, "call %d failed: %s\n", i, status.error_message().c_str());
        std::abort();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return absl::ToDoubleSeconds(absl::Now() - begin);
}

Json list_all(v1::JobService::Stub& jobs, const char* name, v1::ListJobsRequest request) {
  request.set_page_size(1000);
  int64_t found = 0;
  const absl::Time begin = absl::Now();
  do {
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    if (const grpc::Status status = jobs.ListJobs(&context, request, &response); !status.ok()) {
      std::fprintf(stderr, "list failed: %s\n", status.error_message().c_str());
      std::abort();
    }
    found += response.jobs_size();
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return {{"list", name}, {"jobs", found}, {"seconds", absl::ToDoubleSeconds(absl::Now() - begin)}};
}

// Milliseconds that syncs of one worker took while `lists` calls for a thousand jobs each were answered.
Json syncs_beside(const std::string& address, v1::JobService::Stub& jobs, int lists) {
  const auto workers = v1::WorkerService::NewStub(channel_to(address));
  v1::RegisterWorkerRequest hello;
  *hello.mutable_worker() = worker_named(900, 1);
  hello.mutable_worker()->set_version(GALLEON_VERSION);
  v1::RegisterWorkerResponse registered;
  {
    grpc::ClientContext context;
    if (!workers->RegisterWorker(&context, hello, &registered).ok()) std::abort();
  }
  std::atomic<bool> over = false;
  std::vector<double> times;
  std::thread worker([&] {
    v1::SyncWorkerRequest request;
    request.set_worker_id(hello.worker().worker_id());
    request.set_incarnation(hello.worker().incarnation());
    request.set_session(registered.session());
    while (!over) {
      request.set_sequence(request.sequence() + 1);
      grpc::ClientContext context;
      v1::SyncWorkerResponse response;
      const absl::Time begin = absl::Now();
      if (!workers->SyncWorker(&context, request, &response).ok()) std::abort();
      times.push_back(absl::ToDoubleMilliseconds(absl::Now() - begin));
      absl::SleepFor(absl::Milliseconds(5));
    }
  });
  const auto list = [&jobs](int) {
    grpc::ClientContext context;
    v1::ListJobsRequest request;
    request.set_page_size(1000);
    v1::ListJobsResponse response;
    return jobs.ListJobs(&context, request, &response);
  };
  const double seconds = run_calls(lists, list, kListsInFlight);
  over = true;
  worker.join();
  std::sort(times.begin(), times.end());
  return {{"lists", lists},
          {"seconds", seconds},
          {"syncs", times.size()},
          {"median_ms", times[times.size() / 2]},
          {"p99_ms", times[times.size() * 99 / 100]},
          {"worst_ms", times.back()}};
}

}  // namespace

Json load(const std::string& address, int submits, int lists) {
  const auto channel = channel_to(address);
  const auto jobs = v1::JobService::NewStub(channel);
  Json figures;
  std::vector<std::string> ids(static_cast<size_t>(submits));
  const std::string prefix = absl::StrCat("load-", absl::ToUnixMicros(absl::Now()), "-");
  const double submitted = run_calls(submits, [&](int i) {
    grpc::ClientContext context;
    v1::CreateJobRequest request;
    *request.mutable_job() = whole_job(i);
    request.set_request_id(absl::StrCat(prefix, i));
    request.set_allow_pending(true);
    v1::JobRecord record;
    const grpc::Status status = jobs->CreateJob(&context, request, &record);
    ids[static_cast<size_t>(i)] = record.name();
    return status;
  });
  figures["submits"] = {{"jobs", submits}, {"seconds", submitted}, {"per_second", submits / submitted}};
  const double cancelled = run_calls(submits, [&](int i) {
    grpc::ClientContext context;
    v1::CancelJobRequest request;
    request.set_name(ids[static_cast<size_t>(i)]);
    v1::JobRecord record;
    return jobs->CancelJob(&context, request, &record);
  });
  figures["cancel_all"] = {{"jobs", submits}, {"seconds", cancelled}};
  figures["lists"].push_back(list_all(*jobs, "all", {}));
  v1::ListJobsRequest by_owner;
  by_owner.set_owner("user-3");
  figures["lists"].push_back(list_all(*jobs, "of one owner", by_owner));
  v1::ListJobsRequest by_label;
  (*by_label.mutable_labels())["experiment"] = "run-3";
  figures["lists"].push_back(list_all(*jobs, "with a rare label", by_label));
  figures["syncs_beside_lists"] = syncs_beside(address, *jobs, lists);
  return figures;
}

}  // namespace galleon::bench
