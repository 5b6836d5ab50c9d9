// One unary call: the caller is known and may do this, it is counted, written to the audit log if it changes something,
// and answered once.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/base/status_macros.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/api/errors.h"
#include "server/api/metrics.h"
#include "server/api/services.h"
#include "server/http/backend.h"

namespace galleon::server {

inline void count_request(Metrics* metrics, absl::string_view method, const absl::Status& status) {
  metrics->request(method, absl::StatusCodeToString(status.code()));
}

// For whom the HTTP interface makes a call in this process, which it says behind a word that nobody else knows. nullopt:
// the call comes from outside.
inline std::optional<std::string> http_peer_of(const ServiceContext& service, const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find(kPeerKey);
  const std::string prefix = service.inside + " ";
  if (it == metadata.end() || service.inside.empty() || it->second.substr(0, prefix.size()) != prefix)
    return std::nullopt;
  return std::string(it->second.data() + prefix.size(), it->second.size() - prefix.size());
}

// Who shares turns and open calls. Where nobody has a name, each connection by HTTP is somebody, so that pages that are
// open do not take the places of commands; it has one call at a time, and connections are bounded.
inline std::string share_of(const ServiceContext& service, const grpc::ServerContextBase& context,
                            const Caller& caller) {
  return caller.anybody ? http_peer_of(service, context).value_or("") : caller.name;
}

// May a known caller do this in some project, and does it not call too often?
inline absl::Status check_caller(const ServiceContext& service, const Caller& caller, Role needed) {
  if (!caller.may_anywhere(needed)) return require_role(caller, needed, "*");
  if (caller.anybody || needed == Role::kWorker) return absl::OkStatus();
  return service.rates->take(caller.name);
}

// Who calls, if it may.
inline absl::StatusOr<Caller> authorize(const ServiceContext& service, const grpc::ServerContextBase& context,
                                        Role needed) {
  absl::StatusOr<Caller> caller = service.access->get()->identify(context);
  if (!caller.ok()) return caller;
  RETURN_IF_ERROR(check_caller(service, *caller, needed));
  return caller;
}

class Unary {
 public:
  enum class Kind { kReads, kChanges };
  // `method` is a literal; `resource` is for the audit log. A caller who may not is answered at once; then refused() is
  // true and finish() does nothing.
  Unary(grpc::CallbackServerContext* context, const ServiceContext& service, const char* method, Role needed,
        Kind kind = Kind::kReads, std::string resource = "")
      : context_(context),
        reactor_(new Reactor),
        service_(&service),
        method_(method),
        info_(std::make_shared<Info>()),
        lane_(needed == Role::kWorker  ? Lane::kFleet
              : kind == Kind::kChanges ? Lane::kChanges
                                       : Lane::kReads) {
    info_->audited = kind == Kind::kChanges;
    if (info_->audited) info_->peer = http_peer_of(service, *context).value_or(context->peer());
    info_->resource = std::move(resource);
    absl::StatusOr<Caller> caller = service.access->get()->identify(*context);
    absl::Status status = caller.ok() ? check_caller(service, *caller, needed) : caller.status();
    if (caller.ok()) info_->caller = *std::move(caller);
    info_->share = share_of(service, *context, info_->caller);
    if (status.ok() && lane_ != Lane::kFleet) {
      absl::StatusOr<OpenCalls::Place> place = service.open_calls->enter(info_->share);
      status = place.status();
      if (place.ok()) reactor_->place = info_->place = *std::move(place);
    }
    if (!status.ok()) {
      answer(status);
      info_->refused = true;
    }
  }

  bool refused() const { return info_->refused; }
  const std::string& caller() const { return info_->caller.name; }
  bool may(Role needed, absl::string_view project) const { return info_->caller.may(needed, project); }
  // False: the caller may not, and has been told.
  bool require(Role needed, absl::string_view project) const {
    const absl::Status status = require_role(info_->caller, needed, project);
    if (!status.ok()) finish(status);
    return status.ok();
  }
  // The same for a worker that it speaks for.
  bool require_worker(absl::string_view worker_id) const {
    const absl::Status status = info_->caller.may_be_worker(worker_id);
    if (!status.ok()) finish(status);
    return status.ok();
  }
  const Caller& identity() const { return info_->caller; }
  // What it is about, for the audit log.
  void about(std::string resource) const { info_->resource = std::move(resource); }

  void finish(const absl::Status& status) const {
    if (!info_->refused) answer(status);
  }
  // Runs `task`, which answers, on the loop's thread; answers at once if the loop takes no more.
  void on_loop(std::function<void(Turn&)> task) const {
    if (info_->refused) return;
    // Nobody waits for what a caller that has gone asked to see, and nobody sees more than they take.
    auto unless_gone = [call = *this, task = std::move(task)](Turn& turn) {
      if (call.lane_ == Lane::kReads) {
        if (call.context_->IsCancelled()) return call.finish(absl::CancelledError("the caller went away"));
        if (!call.has_room()) return;
      }
      task(turn);
    };
    if (absl::Status status = service_->loop->post(lane_, info_->share, std::move(unless_gone)); !status.ok())
      finish(status);
  }
  // False: more waits to be taken than the caller may leave, and it has been told.
  bool has_room() const {
    const absl::Status room = info_->place == nullptr ? absl::OkStatus() : info_->place->may_answer();
    if (!room.ok()) finish(room);
    return room.ok();
  }
  // What the answer weighs. It counts until the caller has taken it.
  void weighs(size_t bytes) const {
    if (info_->place != nullptr) info_->place->answers(bytes);
  }
  // With what was found, once all that it tells of is durable.
  void finish_after_commit(Turn& turn, const google::protobuf::Message& response) const {
    weighs(response.ByteSizeLong());
    turn.after_commit.push_back([call = *this] { call.finish(absl::OkStatus()); });
  }
  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

 private:
  // Deletes itself when gRPC is done with the call: the answer was taken, or nobody is there to take it.
  struct Reactor final : grpc::ServerUnaryReactor {
    OpenCalls::Place place;
    void OnDone() override { delete this; }
  };
  struct Info {
    Caller caller;
    std::string peer;
    std::string share;
    std::string resource;
    bool audited = false;
    bool refused = false;
    OpenCalls::Place place;  // null: a worker's
  };

  void answer(const absl::Status& status) const {
    count_request(service_->metrics, method_, status);
    if (info_->audited) service_->audit->record(info_->caller.name, info_->peer, method_, info_->resource, status);
    info_->place = nullptr;  // the reactor's goes with the call
    reactor_->Finish(to_grpc(status));
  }

  grpc::CallbackServerContext* context_;  // until the answer
  Reactor* reactor_;
  const ServiceContext* service_;  // outlives every call
  const char* method_;
  std::shared_ptr<Info> info_;
  Lane lane_;
};

}  // namespace galleon::server
