// Bounds what calls cost that are begun to be let go at once: a caller pays for two small frames, and a server for a
// call (CVE-2023-44487). What HTTP/2 says of open streams does not bound them, as they are closed again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/support/server_interceptor.h"

namespace galleon {

class CallGuard {
 public:
  // Calls of a connection that were begun and that the server has not looked at yet: more than its streams, of which
  // there are a hundred at most, so that nobody gets there who waits for answers.
  static constexpr double kMostWaiting = 400;
  // Calls of a connection that were let go before their answer, so many at once and then so many a second. A caller
  // that ends lets go of its open streams.
  static constexpr double kMostCancelled = 500;
  static constexpr double kPerSecond = 100;

  // `end` is told the peer of a connection that goes beyond, as gRPC writes it; from any thread, perhaps more than
  // once.
  CallGuard(const Clock* clock, std::function<void(const std::string& peer)> end)
      : clock_(clock), end_(std::move(end)) {}

  // A connection is named by whatever is its own. False: this call is to be refused, as too many wait.
  bool begin(const std::string& connection);
  // The server looks at a call that was begun.
  void start(const std::string& connection, const std::string& peer);
  void cancel(const std::string& connection, const std::string& peer);

  // Connections that are counted now.
  size_t size() const;

 private:
  struct Counts {
    // Each falls by kPerSecond: a call that begins and is never looked at, since it is broken, is not counted for ever.
    double waiting = 0;
    double cancelled = 0;
    absl::Duration since;
    bool floods = false;
  };
  Counts& counts_of(const std::string& connection);
  void forget_old(absl::Duration now);

  const Clock* const clock_;
  const std::function<void(const std::string& peer)> end_;
  mutable std::mutex mutex_;
  std::map<std::string, Counts> counts_;
  absl::Duration next_look_;
};

// For a server's credentials, before calls are looked at, and for its builder. `guard` outlives the server.
std::shared_ptr<grpc::AuthMetadataProcessor> beginnings(CallGuard* guard);
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> endings(CallGuard* guard);

}  // namespace galleon
