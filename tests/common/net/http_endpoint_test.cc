#include "common/net/http_endpoint.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/net/listen_address.h"
#include "prometheus/counter.h"
#include "prometheus/registry.h"

namespace galleon {
namespace {

FileDescriptor connect_to(const std::string& address) {
  absl::StatusOr<ListenAddress> parsed = parse_listen_address(address);
  EXPECT_TRUE(parsed.ok());
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(parsed->port);
  inet_pton(AF_INET, parsed->host.c_str(), &target.sin_addr);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&target), sizeof(target)), 0);
  timeval limit{10, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  return socket;
}

std::string read_to_end(int fd) {
  std::string all;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(fd, buffer, sizeof(buffer), 0)) > 0;) all.append(buffer, n);
  return all;
}

std::string converse(const std::string& address, const std::string& request) {
  FileDescriptor socket = connect_to(address);
  ::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL);
  return read_to_end(socket.get());
}

std::string get(const std::string& address, const std::string& path) {
  return converse(address, absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\n\r\n"));
}

struct Fixture {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::atomic<bool> ready{true};
  std::unique_ptr<HttpEndpoint> endpoint;

  explicit Fixture(int max_connections = 32, absl::Duration timeout = absl::Seconds(10)) {
    HttpEndpointOptions options;
    options.listen = "127.0.0.1:0";
    options.metrics = registry;
    options.ready = [this] {
      return ready ? absl::OkStatus() : absl::UnavailableError("the journal is being replayed");
    };
    options.max_connections = max_connections;
    options.timeout = timeout;
    absl::StatusOr<std::unique_ptr<HttpEndpoint>> started = HttpEndpoint::start(std::move(options));
    EXPECT_TRUE(started.ok()) << started.status();
    endpoint = std::move(*started);
  }
  const std::string& address() const { return endpoint->address(); }
};

TEST(HttpEndpoint, MetricsAreServedAsText) {
  Fixture f;
  prometheus::BuildCounter().Name("galleon_things_total").Register(*f.registry).Add({{"kind", "a"}}).Increment(3);
  const std::string response = get(f.address(), "/metrics");
  EXPECT_TRUE(absl::StartsWith(response, "HTTP/1.1 200 OK\r\n")) << response;
  EXPECT_TRUE(absl::StrContains(response, "Content-Type: text/plain; version=0.0.4"));
  EXPECT_TRUE(absl::StrContains(response, "galleon_things_total{kind=\"a\"} 3"));
}

TEST(HttpEndpoint, ReadinessFollowsTheCallbackAndSaysWhyNot) {
  Fixture f;
  EXPECT_TRUE(absl::StartsWith(get(f.address(), "/readyz"), "HTTP/1.1 200"));
  f.ready = false;
  const std::string response = get(f.address(), "/readyz");
  EXPECT_TRUE(absl::StartsWith(response, "HTTP/1.1 503"));
  EXPECT_TRUE(absl::EndsWith(response, "\r\n\r\nthe journal is being replayed\n"));
  EXPECT_TRUE(absl::StartsWith(get(f.address(), "/livez"), "HTTP/1.1 200"));
}

TEST(HttpEndpoint, WhoLeadsOfSeveralIsAPathOfItsOwnAndOfOneThereIsNone) {
  HttpEndpointOptions options;
  options.listen = "127.0.0.1:0";
  std::atomic<bool> leads = false;
  options.leads = [&] { return leads ? absl::OkStatus() : absl::UnavailableError("the one at b:1 serves"); };
  const auto endpoint = HttpEndpoint::start(std::move(options));
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  EXPECT_TRUE(absl::StartsWith(get((*endpoint)->address(), "/readyz"), "HTTP/1.1 200"));
  const std::string response = get((*endpoint)->address(), "/leaderz");
  EXPECT_TRUE(absl::StartsWith(response, "HTTP/1.1 503")) << response;
  EXPECT_TRUE(absl::EndsWith(response, "\r\n\r\nthe one at b:1 serves\n")) << response;
  leads = true;
  EXPECT_TRUE(absl::StartsWith(get((*endpoint)->address(), "/leaderz"), "HTTP/1.1 200"));
  Fixture one;
  EXPECT_TRUE(absl::StartsWith(get(one.address(), "/leaderz"), "HTTP/1.1 404"));
}

TEST(HttpEndpoint, OtherPathsMethodsAndNonsenseAreRefused) {
  Fixture f;
  EXPECT_TRUE(absl::StartsWith(get(f.address(), "/"), "HTTP/1.1 404"));
  EXPECT_TRUE(absl::StartsWith(converse(f.address(), "POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405"));
  EXPECT_TRUE(absl::StartsWith(converse(f.address(), "hello\r\n\r\n"), "HTTP/1.1 400"));
}

TEST(HttpEndpoint, WhateverIsSentIsAnsweredOrRefusedAndHarmsNobody) {
  Fixture fixture;
  std::mt19937 random(3);
  const std::string sane = "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer y\r\n\r\n";
  for (int i = 0; i < 1'000; ++i) {
    std::string request = i % 4 == 0 ? std::string(random() % 200, '\0') : sane;
    for (int flips = 0; flips < 6 && !request.empty(); ++flips)
      request[random() % request.size()] = static_cast<char>(i % 3 == 0 ? " \r\n:/"[random() % 5] : random());
    FileDescriptor socket = connect_to(fixture.endpoint->address());
    ::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL);
    ::shutdown(socket.get(), SHUT_WR);
    const std::string answer = read_to_end(socket.get());
    EXPECT_TRUE(answer.empty() || absl::StartsWith(answer, "HTTP/1.1 ")) << answer;
  }
  EXPECT_TRUE(absl::StartsWith(get(fixture.endpoint->address(), "/livez"), "HTTP/1.1 200 "));
}

TEST(HttpEndpoint, HeadHasTheLengthButNoBody) {
  Fixture f;
  const std::string response = converse(f.address(), "HEAD /livez HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(absl::StrContains(response, "Content-Length: 3\r\n"));
  EXPECT_TRUE(absl::EndsWith(response, "\r\n\r\n"));
}

TEST(HttpEndpoint, AnEndlessRequestIsCutOff) {
  Fixture f;
  EXPECT_TRUE(absl::StartsWith(converse(f.address(), "GET /" + std::string(9000, 'a')), "HTTP/1.1 431"));
}

TEST(HttpEndpoint, SilentConnectionsAreEndedAndMakeRoomForOthers) {
  Fixture f(1, absl::Seconds(1));
  FileDescriptor silent = connect_to(f.address());
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_TRUE(absl::StartsWith(get(f.address(), "/livez"), "HTTP/1.1 200"));
  EXPECT_EQ(read_to_end(silent.get()), "");
}

TEST(HttpEndpoint, SilenceShutsNobodyOutBeforeItIsEnded) {
  Fixture f(4, absl::Hours(1));
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 9; ++i) silent.push_back(connect_to(f.address()));
  ::send(silent.back().get(), "GET /livez HT", 13, MSG_NOSIGNAL);
  EXPECT_TRUE(absl::StartsWith(get(f.address(), "/livez"), "HTTP/1.1 200"));
}

TEST(HttpEndpoint, ARequestInPiecesIsAnswered) {
  Fixture f;
  FileDescriptor socket = connect_to(f.address());
  for (const char* piece : {"GET /li", "vez HTTP/1.1\r\n", "\r\n"}) {
    ::send(socket.get(), piece, strlen(piece), MSG_NOSIGNAL);
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_TRUE(absl::StartsWith(read_to_end(socket.get()), "HTTP/1.1 200"));
}

TEST(HttpEndpoint, WithATokenMetricsAreForThoseWhoShowItAndProbesForAll) {
  const std::string file = testing::TempDir() + "metrics-token-" + std::to_string(::getpid());
  const std::string token = "0123456789abcdef0123456789abcdef";
  HttpEndpointOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics_token = file;
  EXPECT_EQ(HttpEndpoint::start(options).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(write_file_atomically(file, "short\n").ok());
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  EXPECT_EQ(HttpEndpoint::start(options).status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(write_file_atomically(file, token + "\n").ok());
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  EXPECT_EQ(HttpEndpoint::start(options).status().code(), absl::StatusCode::kPermissionDenied);
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  absl::StatusOr<std::unique_ptr<HttpEndpoint>> endpoint = HttpEndpoint::start(options);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  const auto answer = [&](const std::string& headers) {
    return converse((*endpoint)->address(), "GET /metrics HTTP/1.1\r\n" + headers + "\r\n");
  };
  const std::string good = "Authorization: Bearer " + token + "\r\n";
  EXPECT_TRUE(absl::StartsWith(answer(good), "HTTP/1.1 200 "));
  EXPECT_TRUE(absl::StartsWith(answer("Host: x\r\nauthorization:bearer   " + token + " \r\n"), "HTTP/1.1 200 "));
  for (const std::string& headers :
       {std::string(), std::string("Authorization:\r\n"), "Authorization: Basic " + token + "\r\n",
        "Authorization: Bearer " + token + "0\r\n", "Authorization: Bearer " + token.substr(1) + "\r\n",
        "X-Authorization: Bearer " + token + "\r\n", good + "Authorization: Bearer other\r\n"}) {
    const std::string refused = answer(headers);
    EXPECT_TRUE(absl::StartsWith(refused, "HTTP/1.1 401 ")) << headers << refused;
    EXPECT_TRUE(absl::StrContains(refused, "\r\nWWW-Authenticate: Bearer\r\n")) << refused;
    EXPECT_FALSE(absl::StrContains(refused, token)) << refused;
  }
  EXPECT_TRUE(absl::StartsWith(get((*endpoint)->address(), "/livez"), "HTTP/1.1 200 "));
  EXPECT_TRUE(absl::StartsWith(get((*endpoint)->address(), "/readyz"), "HTTP/1.1 200 "));
  // Another token holds at once, and none lets nobody in.
  ASSERT_TRUE(write_file_atomically(file, token + token).ok());
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  EXPECT_TRUE(absl::StartsWith(answer(good), "HTTP/1.1 401 "));
  EXPECT_TRUE(absl::StartsWith(answer("Authorization: Bearer " + token + token + "\r\n"), "HTTP/1.1 200 "));
  ASSERT_EQ(::unlink(file.c_str()), 0);
  EXPECT_TRUE(absl::StartsWith(answer(good), "HTTP/1.1 503 "));
}

TEST(HttpEndpoint, ATakenPortAndAnOpenAddressAreRefused) {
  Fixture f;
  HttpEndpointOptions options;
  options.listen = f.address();
  EXPECT_EQ(HttpEndpoint::start(options).status().code(), absl::StatusCode::kUnavailable);
  options.listen = "0.0.0.0:0";
  EXPECT_EQ(HttpEndpoint::start(options).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace galleon
