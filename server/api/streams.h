// Server streams that are fed from one thread: open, written one message at a time, finished once.
#pragma once

#include <atomic>
#include <utility>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"
#include "server/api/errors.h"
#include "server/api/metrics.h"
#include "server/api/unary.h"

namespace galleon::server {

// Deletes itself when gRPC is done with it, which is not before finish(): whoever feeds it may use it until then, and
// not after.
template <typename Response>
class Stream : public grpc::ServerWriteReactor<Response> {
 public:
  Stream(Metrics* metrics, const char* method) : metrics_(metrics), method_(method) {}
  void keep(OpenCalls::Place place) { place_ = std::move(place); }

  bool writing() const { return writing_.load(std::memory_order_acquire); }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  void write(Response response) {
    response_ = std::move(response);
    writing_.store(true, std::memory_order_release);
    this->StartWrite(&response_);
  }
  // Only when nothing is being written.
  void finish(const absl::Status& status) {
    count_request(metrics_, method_, status);
    this->Finish(to_grpc(status));
  }

  void OnWriteDone(bool ok) override {
    if (!ok) cancelled_.store(true, std::memory_order_release);
    writing_.store(false, std::memory_order_release);
  }
  void OnCancel() override { cancelled_.store(true, std::memory_order_release); }
  void OnDone() override { delete this; }

 private:
  Metrics* metrics_;
  const char* method_;
  Response response_;
  OpenCalls::Place place_;
  std::atomic<bool> writing_{false};
  std::atomic<bool> cancelled_{false};
};

}  // namespace galleon::server
