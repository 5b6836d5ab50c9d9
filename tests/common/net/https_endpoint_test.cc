// The metrics endpoint over TLS, with a client of OpenSSL's own.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/net/certificates.h"
#include "common/net/http_endpoint.h"
#include "common/net/listen_address.h"
#include "prometheus/counter.h"
#include "prometheus/registry.h"

namespace galleon {
namespace {

struct Free {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(X509* certificate) const { X509_free(certificate); }
};

class HttpsEndpoint : public testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);  // as the daemons do
    std::string path = testing::TempDir() + "/https-XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    folder_ = path;
    ASSERT_TRUE(init_tls(folder_, {"first.example"}, absl::Hours(1)).ok());
    options_.listen = "127.0.0.1:0";
    options_.tls = folder_ + "/server";
    options_.timeout = absl::Seconds(5);
    options_.metrics = registry_;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  FileDescriptor connect() const {
    const absl::StatusOr<ListenAddress> address = parse_listen_address(endpoint_->address());
    FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(address->port);
    inet_pton(AF_INET, address->host.c_str(), &target.sin_addr);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&target), sizeof(target)), 0);
    const timeval limit{10, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return socket;
  }

  struct Answer {
    std::string text;
    bool trusted = false;  // the authority has signed for `host`
  };
  Answer get(const std::string& path, const std::string& host) const {
    const FileDescriptor socket = connect();
    const std::unique_ptr<SSL_CTX, Free> context(SSL_CTX_new(TLS_client_method()));
    EXPECT_EQ(SSL_CTX_load_verify_locations(context.get(), (folder_ + "/server/ca.pem").c_str(), nullptr), 1);
    const std::unique_ptr<SSL, Free> ssl(SSL_new(context.get()));
    SSL_set_fd(ssl.get(), socket.get());
    SSL_set1_host(ssl.get(), host.c_str());
    if (SSL_connect(ssl.get()) != 1) return {};
    Answer answer;
    answer.trusted = SSL_get_verify_result(ssl.get()) == X509_V_OK;
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n";
    EXPECT_EQ(SSL_write(ssl.get(), request.data(), static_cast<int>(request.size())), static_cast<int>(request.size()));
    char buffer[4096];
    for (int n; (n = SSL_read(ssl.get(), buffer, sizeof(buffer))) > 0;) answer.text.append(buffer, n);
    return answer;
  }

  void start() {
    absl::StatusOr<std::unique_ptr<HttpEndpoint>> started = HttpEndpoint::start(options_);
    ASSERT_TRUE(started.ok()) << started.status();
    endpoint_ = *std::move(started);
  }

  std::string folder_;
  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  HttpEndpointOptions options_;
  std::unique_ptr<HttpEndpoint> endpoint_;
};

TEST_F(HttpsEndpoint, AResponseLargerThanTheSocketsBuffersArrivesWhole) {
  auto& family = prometheus::BuildGauge().Name("many").Register(*registry_);
  for (int i = 0; i < 40'000; ++i) family.Add({{"number", std::to_string(i)}}).Set(i);
  start();
  const Answer answer = get("/metrics", "first.example");
  EXPECT_TRUE(answer.trusted);
  EXPECT_TRUE(absl::StartsWith(answer.text, "HTTP/1.1 200"));
  EXPECT_GT(answer.text.size(), 1'000'000);
  EXPECT_TRUE(absl::StrContains(answer.text, "many{number=\"39999\"} 39999\n"));
}

TEST_F(HttpsEndpoint, ANameThatTheCertificateLacksIsNotTrusted) {
  start();
  EXPECT_FALSE(get("/livez", "other.example").trusted);
}

TEST_F(HttpsEndpoint, ARenewedCertificateIsShownWithoutARestart) {
  start();
  ASSERT_TRUE(get("/livez", "first.example").trusted);
  const absl::StatusOr<std::string> certificate = read_file(folder_ + "/authority/cert.pem");
  const absl::StatusOr<std::string> key = read_file(folder_ + "/authority/key.pem");
  ASSERT_TRUE(certificate.ok() && key.ok()) << certificate.status() << key.status();
  const absl::Time now = absl::Now();
  const absl::StatusOr<KeyPair> renewed =
      make_certificate({*certificate, *key}, "server", {"second.example"}, now - absl::Hours(1), now + absl::Hours(1));
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  ASSERT_TRUE(write_file_atomically(folder_ + "/server/cert.pem", renewed->certificate).ok());
  // Only the certificate is there yet, without its key: the old pair goes on.
  EXPECT_TRUE(get("/livez", "first.example").trusted);
  ASSERT_TRUE(write_secret(folder_ + "/server/key.pem", renewed->key).ok());
  EXPECT_TRUE(get("/livez", "second.example").trusted);
}

TEST_F(HttpsEndpoint, PlainTextAndSilenceEndWithoutAnAnswerAndHinderNobody) {
  options_.max_connections = 2;
  start();
  const FileDescriptor silent = connect();
  const FileDescriptor plain = connect();
  ::send(plain.get(), "GET /livez HTTP/1.1\r\n\r\n", 23, MSG_NOSIGNAL);
  EXPECT_TRUE(absl::StartsWith(get("/livez", "first.example").text, "HTTP/1.1 200"));
  char buffer[64];
  const ssize_t n = ::recv(plain.get(), buffer, sizeof(buffer), 0);
  EXPECT_FALSE(n > 4 && absl::StartsWith(absl::string_view(buffer, n), "HTTP"));
}

TEST_F(HttpsEndpoint, BeyondLoopbackTheDaemonsCertificateIsShownUnlessPlainHttpIsAskedFor) {
  HttpEndpointOptions options;
  options.listen = "127.0.0.1:9091";
  secure_endpoint("folder", false, options);
  EXPECT_EQ(options.tls, "");
  options.listen = "0.0.0.0:9091";
  secure_endpoint("folder", false, options);
  EXPECT_EQ(options.tls, "folder");
  secure_endpoint("folder", true, options);
  EXPECT_EQ(options.tls, "");
  EXPECT_TRUE(options.plain_http);
  secure_endpoint("", false, options);
  const absl::Status refused = HttpEndpoint::start(options).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(std::string(refused.message()), "--metrics-plain-http"));
}

TEST_F(HttpsEndpoint, AKeyThatIsNotTheCertificatesIsRefusedByName) {
  std::filesystem::copy_file(folder_ + "/worker/key.pem", folder_ + "/server/key.pem",
                             std::filesystem::copy_options::overwrite_existing);
  const absl::Status refused = HttpEndpoint::start(options_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(std::string(refused.message()), folder_ + "/server/cert.pem"));
}

}  // namespace
}  // namespace galleon
