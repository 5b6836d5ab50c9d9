#include "common/net/call_guard.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/server_context.h"

namespace galleon {

namespace {

constexpr char kConnection[] = "galleon_connection";  // a property of what is known of a connection
constexpr absl::Duration kBetweenLooks = absl::Seconds(10);

// Runs where frames are read, so that a call that is refused here is gone before the next frame is.
class Beginnings final : public grpc::AuthMetadataProcessor {
 public:
  explicit Beginnings(CallGuard* guard) : guard_(guard) {}
  bool IsBlocking() const override { return false; }

  // Of one connection not twice at a time.
  grpc::Status Process(const InputMetadata&, grpc::AuthContext* context, OutputMetadata*, OutputMetadata*) override {
    std::vector<grpc::string_ref> known = context->FindPropertyValues(kConnection);
    if (known.empty()) {
      context->AddProperty(kConnection, absl::StrCat(next_++));
      known = context->FindPropertyValues(kConnection);
    }
    if (guard_->begin(std::string(known.front().data(), known.front().size()))) return grpc::Status::OK;
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "more calls are begun on this connection than it may have open"};
  }

 private:
  CallGuard* const guard_;
  std::atomic<uint64_t> next_ = 1;
};

// Without TLS no connection has a number: it is named by its peer.
std::string connection_of(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> known = context.auth_context();
  if (known == nullptr) return context.peer();
  const std::vector<grpc::string_ref> numbers = known->FindPropertyValues(kConnection);
  return numbers.empty() ? context.peer() : std::string(numbers.front().data(), numbers.front().size());
}

class Ending final : public grpc::experimental::Interceptor {
 public:
  Ending(CallGuard* guard, grpc::experimental::ServerRpcInfo* call) : guard_(guard), call_(call) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    const grpc::ServerContextBase& context = *call_->server_context();
    if (methods->QueryInterceptionHookPoint(Point::POST_RECV_INITIAL_METADATA))
      guard_->start(connection_of(context), context.peer());
    if (methods->QueryInterceptionHookPoint(Point::POST_RECV_CLOSE) && context.IsCancelled())
      guard_->cancel(connection_of(context), context.peer());
    methods->Proceed();
  }

 private:
  CallGuard* const guard_;
  grpc::experimental::ServerRpcInfo* const call_;
};

class Endings final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Endings(CallGuard* guard) : guard_(guard) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    return new Ending(guard_, info);
  }

 private:
  CallGuard* const guard_;
};

}  // namespace

CallGuard::Counts& CallGuard::counts_of(const std::string& connection) {
  const absl::Duration now = clock_->monotonic();
  if (now >= next_look_) forget_old(now);
  auto [it, added] = counts_.try_emplace(connection);
  Counts& counts = it->second;
  if (!added) {
    const double fallen = absl::ToDoubleSeconds(now - counts.since) * kPerSecond;
    counts.waiting = std::max(0.0, counts.waiting - fallen);
    counts.cancelled = std::max(0.0, counts.cancelled - fallen);
  }
  counts.since = now;
  return counts;
}

bool CallGuard::begin(const std::string& connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Counts& counts = counts_of(connection);
  if (counts.waiting < kMostWaiting) {
    counts.waiting += 1;
    return true;
  }
  counts.floods = true;
  return false;
}

void CallGuard::start(const std::string& connection, const std::string& peer) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    Counts& counts = counts_of(connection);
    counts.waiting = std::max(0.0, counts.waiting - 1);
    if (!std::exchange(counts.floods, false)) return;
  }
  end_(peer);
}

void CallGuard::cancel(const std::string& connection, const std::string& peer) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    Counts& counts = counts_of(connection);
    if (counts.cancelled < kMostCancelled) {
      counts.cancelled += 1;
      return;
    }
  }
  end_(peer);
}

size_t CallGuard::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return counts_.size();
}

void CallGuard::forget_old(absl::Duration now) {
  next_look_ = now + kBetweenLooks;
  for (auto it = counts_.begin(); it != counts_.end();) {
    const double fallen = absl::ToDoubleSeconds(now - it->second.since) * kPerSecond;
    it = std::max(it->second.waiting, it->second.cancelled) <= fallen ? counts_.erase(it) : std::next(it);
  }
}

std::shared_ptr<grpc::AuthMetadataProcessor> beginnings(CallGuard* guard) {
  return std::make_shared<Beginnings>(guard);
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> endings(CallGuard* guard) {
  return std::make_unique<Endings>(guard);
}

}  // namespace galleon
