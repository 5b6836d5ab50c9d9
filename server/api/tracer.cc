#include "server/api/tracer.h"

#include <set>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/log.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr size_t kMostRead = 500;  // changes that are looked at in one round
constexpr size_t kMostWaiting = 4096;
constexpr size_t kMostAtOnce = 512;
constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace

Tracer::Tracer(const std::string& address, std::string version)
    : version_(std::move(version)),
      address_(address),
      stub_(otlp::TraceService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
  thread_ = std::thread([this] { run(); });
}

Tracer::~Tracer() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    if (call_ != nullptr) call_->TryCancel();
  }
  changed_.notify_all();
  thread_.join();
}

void Tracer::feed(const Scheduler& scheduler) {
  const State& state = scheduler.state();
  if (!begun_) {
    begun_ = true;
    read_ = state.revision();
    before_ = state.last_job_number();
    // Jobs that go on now are told of from here on.
    for (const auto& [number, entry] : state.jobs()) {
      const JobFacts facts = entry.facts();
      if (is_terminal(facts.state)) continue;
      if (const v1::JobState* job = state.job(facts.job_id); job != nullptr) (void)jobs_.of(*job, false);
    }
    return;
  }
  if (state.revision() == read_) return;
  std::vector<v1::Event> events;
  (void)state.events_after(read_, "", kMostRead, events);
  read_ = events.size() < kMostRead ? state.revision() : events.back().revision();
  std::set<std::string> touched;
  for (const v1::Event& event : events) {
    if (event.subject().starts_with("jobs/")) touched.insert(event.subject().substr(5));
  }
  std::vector<otlp::Span> spans;
  for (const std::string& id : touched) {
    const v1::JobState* job = state.job(id);
    if (job == nullptr) {
      jobs_.forget(id);
      continue;
    }
    for (otlp::Span& span : jobs_.of(*job, job->number() > before_)) spans.push_back(std::move(span));
  }
  if (!spans.empty()) put(std::move(spans));
}

void Tracer::put(std::vector<otlp::Span> spans) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (otlp::Span& span : spans) waiting_.push_back(std::move(span));
    while (waiting_.size() > kMostWaiting) {
      waiting_.pop_front();
      ++dropped_;
    }
  }
  changed_.notify_all();
}

void Tracer::run() {
  bool away = false;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::vector<otlp::Span> batch;
    while (!waiting_.empty() && batch.size() < kMostAtOnce) {
      batch.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    const bool last = stopping_;
    lock.unlock();
    const bool taken = send(batch);
    lock.lock();
    if (!taken) dropped_ += batch.size();
    if (!taken && !away) log_warning("--otlp ", address_, " takes no traces; what ends meanwhile is not told");
    if (taken && away) log_info("--otlp ", address_, " takes traces again; ", dropped_, " spans were not told");
    if (taken) dropped_ = 0;
    away = !taken;
    if (last && !taken) return;
  }
}

bool Tracer::send(const std::vector<otlp::Span>& spans) {
  otlp::ExportTraceServiceRequest request;
  otlp::ResourceSpans& resource = *request.add_resource_spans();
  otlp::KeyValue& service = *resource.mutable_resource()->add_attributes();
  service.set_key("service.name");
  service.mutable_value()->set_string_value("galleon");
  otlp::ScopeSpans& scope = *resource.add_scope_spans();
  scope.mutable_scope()->set_name("galleon-scheduler");
  scope.mutable_scope()->set_version(version_);
  for (const otlp::Span& span : spans) *scope.add_spans() = span;
  grpc::ClientContext context;
  bool stopping = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping = stopping_;
    call_ = &context;
  }
  context.set_deadline(absl::ToChronoTime(absl::Now() + (stopping ? absl::Seconds(1) : kPatience)));
  otlp::ExportTraceServiceResponse response;
  const grpc::Status status = stub_->Export(&context, request, &response);
  const std::lock_guard<std::mutex> lock(mutex_);
  call_ = nullptr;
  return status.ok();
}

}  // namespace galleon::server
