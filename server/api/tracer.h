// Hands spans of jobs to a collector that speaks OTLP over gRPC. Nothing waits for it: what it does not take in time is
// dropped and counted in the log.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "otlp/traces.grpc.pb.h"
#include "server/api/job_spans.h"
#include "server/core/scheduler.h"

namespace galleon::server {

class Tracer {
 public:
  // `address`: HOST:PORT, without TLS. `version`: of this program.
  Tracer(const std::string& address, std::string version);
  ~Tracer();
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  // On the loop's thread, after each commit. What was over before the first call is not told.
  void feed(const Scheduler& scheduler);

 private:
  void run();
  void put(std::vector<otlp::Span> spans);
  // False: it was not taken.
  bool send(const std::vector<otlp::Span>& spans);

  const std::string version_;
  const std::string address_;
  std::unique_ptr<otlp::TraceService::Stub> stub_;
  JobSpans jobs_;
  uint64_t read_ = 0;
  uint64_t before_ = 0;  // the newest job at the first call
  bool begun_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<otlp::Span> waiting_;
  uint64_t dropped_ = 0;
  bool stopping_ = false;
  grpc::ClientContext* call_ = nullptr;  // that is under way
  std::thread thread_;                   // last: it uses the rest
};

}  // namespace galleon::server
