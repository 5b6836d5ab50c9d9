#include "server/http/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/net/listen_address.h"
#include "grpcpp/create_channel.h"
#include "tests/patience.h"

namespace galleon::server {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    options_.listen = "127.0.0.1:0";
    options_.anybody = true;
    options_.version = "1";
    options_.channel = grpc::CreateChannel("127.0.0.1:1", grpc::InsecureChannelCredentials());  // nobody is there
  }

  void start() {
    absl::StatusOr<std::unique_ptr<HttpServer>> made = HttpServer::start(options_);
    ASSERT_TRUE(made.ok()) << made.status();
    server_ = *std::move(made);
  }

  FileDescriptor connect() const {
    FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(parse_listen_address(server_->address())->port);
    inet_pton(AF_INET, "127.0.0.1", &target.sin_addr);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&target), sizeof(target)), 0);
    return socket;
  }
  // All that comes until the other side closes.
  static std::string rest_of(const FileDescriptor& socket) {
    std::string all;
    char buffer[65536];
    for (ssize_t n; (n = ::recv(socket.get(), buffer, sizeof(buffer), 0)) > 0;)
      all.append(buffer, static_cast<size_t>(n));
    return all;
  }
  std::string answer_to(const std::string& request) const {
    const FileDescriptor socket = connect();
    EXPECT_TRUE(write_all(socket.get(), request).ok());
    return rest_of(socket);
  }
  static bool is_closed(const FileDescriptor& socket) {
    pollfd polled{socket.get(), POLLRDHUP, 0};
    ::poll(&polled, 1, 0);
    return (polled.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }

  HttpOptions options_;
  std::unique_ptr<HttpServer> server_;
};

constexpr char kPage[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

TEST_F(HttpServerTest, ServesThePageAndKeepsAConnection) {
  start();
  EXPECT_EQ(server_->url(), absl::StrCat("http://", server_->address(), "/"));
  EXPECT_THAT(answer_to(kPage), StartsWith("HTTP/1.1 200 OK\r\n"));
  const std::string both =
      answer_to(absl::StrCat("GET /page/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n", std::string(kPage)));
  EXPECT_THAT(both, HasSubstr("text/css"));
  EXPECT_THAT(both, HasSubstr("text/html"));
}

TEST_F(HttpServerTest, WhoSaysNothingOrNeverEndsGoes) {
  options_.patience = absl::Milliseconds(100);
  start();
  const FileDescriptor silent = connect();
  const FileDescriptor slow = connect();
  ASSERT_TRUE(write_all(slow.get(), "GET / HTTP/1.1\r\nHost: local").ok());
  EXPECT_TRUE(eventually([&] { return is_closed(silent) && is_closed(slow); }));
}

TEST_F(HttpServerTest, WhoDoesNotTakeWhatItAskedForGoes) {
  options_.slow_reader = absl::Milliseconds(200);
  start();
  const FileDescriptor socket = connect();
  std::string requests;
  for (int i = 0; i < 400; ++i) requests += "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
  ASSERT_TRUE(write_all(socket.get(), requests).ok());
  EXPECT_TRUE(eventually([&] { return is_closed(socket); }));
  // Others are served meanwhile, and after it.
  EXPECT_THAT(answer_to(kPage), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(HttpServerTest, ConnectionsAreBoundedAndTheOldestIdleOneMakesRoom) {
  options_.most_connections = 8;
  options_.most_of_address = 4;
  start();
  std::vector<FileDescriptor> open;
  for (int i = 0; i < 4; ++i) open.push_back(connect());
  EXPECT_THAT(answer_to(kPage), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(eventually([&] { return is_closed(open[0]); }));
  EXPECT_FALSE(is_closed(open[3]));
}

TEST_F(HttpServerTest, AServiceThatIsNotThereIsAnError) {
  start();
  EXPECT_THAT(answer_to("GET /v1/queues HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
}

TEST_F(HttpServerTest, BeyondLoopbackItDoesNotStartWithoutCertificates) {
  options_.listen = "0.0.0.0:0";
  const absl::StatusOr<std::unique_ptr<HttpServer>> made = HttpServer::start(options_);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(HttpServerTest, ItEndsWithConnectionsOpen) {
  start();
  const FileDescriptor idle = connect();
  const FileDescriptor asks = connect();
  ASSERT_TRUE(write_all(asks.get(), "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").ok());
  server_.reset();
  EXPECT_TRUE(eventually([&] { return is_closed(idle); }));
}

}  // namespace
}  // namespace galleon::server
