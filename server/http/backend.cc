#include "server/http/backend.h"

#include <chrono>
#include <mutex>
#include <utility>
#include <vector>

#include "grpcpp/client_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/client_callback.h"

namespace galleon::server {

namespace {

constexpr std::chrono::seconds kPatience(30);  // for the answer of a call that is no stream

grpc::ByteBuffer buffer_of(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string bytes_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

void tell(const Identity& identity, grpc::ClientContext& context) {
  if (!identity.authorization.empty()) context.AddMetadata("authorization", identity.authorization);
  context.AddMetadata(kPeerKey, identity.peer);
}

class OpenStream final : public Backend::Stream,
                         public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                         public std::enable_shared_from_this<OpenStream> {
 public:
  OpenStream(const std::string& request, const Identity& identity, std::function<void(std::string)> on_message,
             std::function<void(const grpc::Status&)> on_end)
      : request_(buffer_of(request)), on_message_(std::move(on_message)), on_end_(std::move(on_end)) {
    tell(identity, context_);
  }

  void start(grpc::GenericStub& stub, const std::string& method) {
    self_ = shared_from_this();  // until OnDone
    stub.PrepareBidiStreamingCall(&context_, method, {}, this);
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&response_);
    // For next(), which is called from outside of the reactions.
    AddHold();
    StartCall();
  }

  void next() override {
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (!ended_) StartRead(&response_);
  }
  void cancel() override { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (ok) return on_message_(bytes_of(response_));
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    end();
  }
  void OnWriteDone(bool) override {}
  void OnDone(const grpc::Status& status) override {
    on_end_(status);
    self_.reset();
  }

  // Nobody will call next() any more, though the last message was not followed by a read.
  void give_up() {
    context_.TryCancel();
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    end();
  }

 private:
  void end() {
    if (!std::exchange(ended_, true)) RemoveHold();
  }

  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  const std::function<void(std::string)> on_message_;
  const std::function<void(const grpc::Status&)> on_end_;
  std::recursive_mutex mutex_;  // gRPC may react within StartRead
  bool ended_ = false;
  std::shared_ptr<OpenStream> self_;
};

// What the caller has: when it lets go of it, the call ends.
class Handle final : public Backend::Stream {
 public:
  explicit Handle(std::shared_ptr<OpenStream> stream) : stream_(std::move(stream)) {}
  ~Handle() override { stream_->give_up(); }
  void next() override { stream_->next(); }
  void cancel() override { stream_->give_up(); }

 private:
  const std::shared_ptr<OpenStream> stream_;
};

}  // namespace

void Backend::call(const std::string& method, const std::string& request, const Identity& identity,
                   std::function<void(const grpc::Status&, std::string)> done) {
  struct Open {
    grpc::ClientContext context;
    grpc::ByteBuffer request;
    grpc::ByteBuffer response;
  };
  auto open = std::make_shared<Open>();
  tell(identity, open->context);
  open->context.set_deadline(std::chrono::system_clock::now() + kPatience);
  open->request = buffer_of(request);
  stub_.UnaryCall(&open->context, method, {}, &open->request, &open->response,
                  [open, done = std::move(done)](const grpc::Status& status) {
                    done(status, status.ok() ? bytes_of(open->response) : std::string());
                  });
}

std::shared_ptr<Backend::Stream> Backend::stream(const std::string& method, const std::string& request,
                                                 const Identity& identity, std::function<void(std::string)> on_message,
                                                 std::function<void(const grpc::Status&)> on_end) {
  auto stream = std::make_shared<OpenStream>(request, identity, std::move(on_message), std::move(on_end));
  stream->start(stub_, method);
  return std::make_shared<Handle>(std::move(stream));
}

}  // namespace galleon::server
