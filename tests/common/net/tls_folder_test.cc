// Certificates that are renewed while a program runs: connections made afterwards use the new ones.
#include "common/net/tls_folder.h"
#include "common/net/tls_watch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/net/certificates.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "tests/patience.h"

namespace galleon {
namespace {

class TlsFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-tls-", random_hex(8))).string();
    for (const char* name : {"/old", "/new"}) ASSERT_TRUE(init_tls(folder_ + name, {"localhost"}, absl::Hours(1)).ok());
    std::filesystem::copy(folder_ + "/old", folder_ + "/now", std::filesystem::copy_options::recursive);
    absl::StatusOr<std::unique_ptr<TlsWatch>> watch = TlsWatch::start(folder_ + "/now/server", absl::Seconds(1));
    ASSERT_TRUE(watch.ok()) << watch.status();
    watch_ = *std::move(watch);
    const auto credentials = server_credentials(*watch_);
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("localhost:0", *credentials, &port_);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    std::filesystem::remove_all(folder_);
  }

  void renew(const std::string& who) {
    for (const char* file : {"ca.pem", "cert.pem", "key.pem"}) {
      std::filesystem::rename(absl::StrCat(folder_, "/new/", who, "/", file),
                              absl::StrCat(folder_, "/now/", who, "/", file));
    }
  }

  // Whether a call reaches the server, which has no method and says so.
  static bool reaches(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    grpc::CompletionQueue queue;
    const grpc::Slice nothing;
    const auto call = stub.PrepareUnaryCall(&context, "/none/None", grpc::ByteBuffer(&nothing, 1), &queue);
    call->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    call->Finish(&answer, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status.error_code() == grpc::UNIMPLEMENTED;
  }
  std::shared_ptr<grpc::Channel> connect(const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
    grpc::ChannelArguments own;  // else gRPC would use a connection that is there
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(absl::StrCat("localhost:", port_), credentials, own);
  }
  bool reaches_as(const std::string& client) const {
    return reaches(connect(channel_credentials(*load_tls_folder(folder_ + client))));
  }

  std::string folder_;
  std::unique_ptr<TlsWatch> watch_;
  int port_ = 0;
  grpc::CallbackGenericService service_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(TlsFolderTest, ARenewedServerServesNewConnectionsWithItsNewCertificateAndKeepsTheOldOnes) {
  const auto before = connect(channel_credentials(*load_tls_folder(folder_ + "/old/worker")));
  EXPECT_TRUE(reaches(before));
  EXPECT_FALSE(reaches_as("/new/worker"));
  std::filesystem::copy(folder_ + "/new/worker", folder_ + "/ours", std::filesystem::copy_options::recursive);
  renew("server");
  EXPECT_TRUE(eventually([this] { return reaches_as("/ours"); }));
  EXPECT_FALSE(reaches_as("/old/worker"));
  EXPECT_TRUE(reaches(before));
}

TEST_F(TlsFolderTest, ARenewedClientShowsItsNewCertificateWhenItConnectsAgain) {
  const absl::StatusOr<std::unique_ptr<TlsWatch>> own = TlsWatch::start(folder_ + "/now/worker", absl::Seconds(1));
  ASSERT_TRUE(own.ok()) << own.status();
  const auto credentials = channel_credentials(**own);
  EXPECT_TRUE(reaches(connect(credentials)));
  renew("server");
  EXPECT_TRUE(eventually([&] { return !reaches(connect(credentials)); }));
  renew("worker");
  EXPECT_TRUE(eventually([&] { return reaches(connect(credentials)); }));
}

TEST_F(TlsFolderTest, ARenewalThatIsHalfWrittenIsNotUsedAndNamedUntilItIsWhole) {
  const std::string now = folder_ + "/now/server";
  std::filesystem::copy(folder_ + "/new/server", folder_ + "/half", std::filesystem::copy_options::recursive);
  const std::string whole = *read_file(folder_ + "/half/cert.pem");
  EXPECT_TRUE(watch_->refresh().ok());
  for (const auto& [certificate, why] : std::vector<std::pair<std::string, std::string>>{
           {whole, "/key.pem is not the key of "},
           {"", "/cert.pem is empty"},
           {whole.substr(0, whole.size() / 2), "/cert.pem is cut"},
           // The second of a chain is cut: the first alone would look whole.
           {whole + whole.substr(0, whole.size() / 2), "/cert.pem is cut"},
       }) {
    ASSERT_TRUE(write_file_atomically(now + "/cert.pem", certificate).ok());
    const absl::Status refused = watch_->refresh();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(refused.message(), now + why)) << refused;
    EXPECT_TRUE(watch_->refused());
    EXPECT_TRUE(reaches_as("/old/worker")) << why;
  }
  // The certificate is there, the key is not whole yet.
  ASSERT_TRUE(write_file_atomically(now + "/cert.pem", whole).ok());
  const std::string next = *read_file(folder_ + "/half/key.pem");
  ASSERT_TRUE(write_secret(now + "/key.pem", next.substr(0, next.size() / 2)).ok());
  EXPECT_TRUE(absl::StrContains(watch_->refresh().message(), "/key.pem is cut"));
  // Readable by all: as good as lost, and so not used either.
  std::filesystem::permissions(now + "/key.pem", std::filesystem::perms::all);
  EXPECT_EQ(watch_->refresh().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(reaches_as("/old/worker"));
  renew("server");
  EXPECT_TRUE(eventually([this] { return reaches_as("/new/worker"); }));
  EXPECT_TRUE(eventually([this] { return !watch_->refused(); }));
}

TEST_F(TlsFolderTest, WithoutACertificateThereIsNoServer) {
  const auto started = [this] { return TlsWatch::start(folder_ + "/bare"); };
  ASSERT_TRUE(make_folders(folder_ + "/bare").ok());
  EXPECT_EQ(started().status().code(), absl::StatusCode::kNotFound);
  std::filesystem::copy_file(folder_ + "/old/server/ca.pem", folder_ + "/bare/ca.pem");
  ASSERT_TRUE(write_file_atomically(folder_ + "/bare/token", "secret").ok());
  std::filesystem::permissions(folder_ + "/bare/token", std::filesystem::perms::owner_read);
  const auto watch = started();
  ASSERT_TRUE(watch.ok()) << watch.status();
  EXPECT_EQ(server_credentials(**watch).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace galleon
