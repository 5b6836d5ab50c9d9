// For the operator: a backup of the journal and other files while jobs go on.
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "galleon/v1/admin.grpc.pb.h"
#include "server/api/errors.h"
#include "server/api/services.h"
#include "server/api/task_thread.h"
#include "server/api/unary.h"
#include "server/core/refusal.h"

namespace galleon::server {

namespace {

constexpr size_t kPiece = 1 << 20;

// Sends a copy of the journal in pieces. Deletes itself when gRPC is done with it.
class BackupStream final : public grpc::ServerWriteReactor<v1::BackupResponse> {
 public:
  BackupStream(Metrics* metrics, std::string path, std::atomic<bool>* busy)
      : metrics_(metrics), path_(std::move(path)), busy_(busy) {}

  void end(const absl::Status& status) {
    count_request(metrics_, "Backup", status);
    Finish(to_grpc(status));
  }

  void begin(const Journal& journal) {
    if (absl::Status status = make_folders(std::filesystem::path(path_).parent_path().string()); !status.ok())
      return end(status);
    if (absl::Status status = journal.backup(path_); !status.ok())
      return end(with_reason(status, v1::ErrorInfo::BACKUP_FAILED));
    std::error_code error;
    total_ = std::filesystem::file_size(path_, error);
    file_.open(path_, std::ios::binary);
    // It lives as long as it is read.
    ::unlink(path_.c_str());
    if (error || !file_) return end(absl::UnavailableError("the backup cannot be read"));
    send();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return end(absl::CancelledError("the caller went away"));
    send();
  }

  void OnDone() override {
    file_.close();
    if (busy_ != nullptr) *busy_ = false;
    delete this;
  }

 private:
  void send() {
    if (sent_ >= total_) return end(absl::OkStatus());
    std::string& data = *response_.mutable_data();
    data.resize(std::min<uint64_t>(kPiece, total_ - sent_));
    if (!file_.read(data.data(), static_cast<std::streamsize>(data.size())))
      return end(absl::DataLossError("the backup became shorter while it was sent"));
    response_.set_total_bytes(total_);
    sent_ += data.size();
    StartWrite(&response_);
  }

  Metrics* metrics_;
  const std::string path_;
  std::atomic<bool>* busy_;  // null: refused
  std::ifstream file_;
  uint64_t total_ = 0;
  uint64_t sent_ = 0;
  v1::BackupResponse response_;
};

class AdminService final : public v1::AdminService::CallbackService, public StoppableService {
 public:
  explicit AdminService(const ServiceContext& context) : context_(context) {}
  grpc::Service* service() override { return this; }
  void shut_down() override { stopping_ = true; }

  grpc::ServerWriteReactor<v1::BackupResponse>* Backup(grpc::CallbackServerContext* context,
                                                       const v1::BackupRequest*) override {
    const absl::StatusOr<Caller> caller = authorize(context_, *context, Role::kOperator);
    const absl::Status allowed = caller.ok() ? require_role(*caller, Role::kOperator, "*") : caller.status();
    context_.audit->record(caller.ok() ? caller->name : "", context->peer(), "Backup", "", allowed);
    if (!allowed.ok()) {
      auto* denied = new BackupStream(context_.metrics, "", nullptr);
      denied->end(allowed);
      return denied;
    }
    const bool refused = stopping_ || busy_.exchange(true);
    auto* stream =
        new BackupStream(context_.metrics, context_.backup_folder + "/scheduler.db", refused ? nullptr : &busy_);
    if (refused) {
      stream->end(stopping_ ? absl::UnavailableError("the scheduler shuts down; try again soon")
                            : refusal(v1::ErrorInfo::BACKUP_IN_PROGRESS,
                                      "another backup is being made; try again when it is done"));
    } else {
      thread_.post([this, stream] { stream->begin(*context_.journal); });
    }
    return stream;
  }

  grpc::ServerUnaryReactor* Reload(grpc::CallbackServerContext* context, const v1::ReloadRequest* request,
                                   v1::ReloadResponse* response) override {
    const Unary call(context, context_, "Reload", Role::kOperator, Unary::Kind::kChanges,
                     request->validate_only() ? "validate_only" : "");
    if (call.refused() || !call.require(Role::kOperator, "*")) return call.reactor();
    const bool stores = !request->validate_only();
    context_.reload->start(!stores, [call, stores, response](const absl::StatusOr<v1::ReloadResponse>& read) {
      if (stores) tell_reload(read);
      if (!read.ok()) return call.finish(read.status());
      if (stores) call.about(summary(*read));
      *response = *read;
      call.finish(absl::OkStatus());
    });
    return call.reactor();
  }

 private:
  const ServiceContext context_;
  std::atomic<bool> busy_{false};
  std::atomic<bool> stopping_{false};
  TaskThread thread_;
};

}  // namespace

std::unique_ptr<StoppableService> make_admin_service(const ServiceContext& context) {
  return std::make_unique<AdminService>(context);
}

}  // namespace galleon::server
