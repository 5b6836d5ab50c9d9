#include "common/net/listen_address.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/ids.h"

namespace galleon {
namespace {

TEST(ListenAddress, HostAndPortAreTakenApartAndPutTogether) {
  for (const char* text : {"127.0.0.1:7070", "localhost:0", "[::1]:65535", "0.0.0.0:1"}) {
    absl::StatusOr<ListenAddress> address = parse_listen_address(text);
    ASSERT_TRUE(address.ok()) << text << address.status();
    EXPECT_EQ(to_string(*address), text);
  }
}

TEST(ListenAddress, MalformedTextIsRefusedWithAnExample) {
  for (const char* text :
       {"", "127.0.0.1", ":80", "host:", "host:port", "host:70000", "host:-1", "::1:80", "[::1]", "[x]:80", "h:+5"}) {
    absl::StatusOr<ListenAddress> address = parse_listen_address(text);
    ASSERT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(address.status().message().find("127.0.0.1:7070"), absl::string_view::npos);
  }
}

TEST(ListenAddress, OnlyLoopbackAddressesAreLoopback) {
  for (const char* host : {"localhost", "127.0.0.1", "127.8.9.10", "::1"}) EXPECT_TRUE(is_loopback({host, 1})) << host;
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "example.org", "128.0.0.1", "127.0.0.1.example.org"}) {
    EXPECT_FALSE(is_loopback({host, 1})) << host;
  }
}

TEST(ListenAddress, ListeningBeyondLoopbackIsRefusedByTheFlagsName) {
  EXPECT_TRUE(require_loopback({"127.0.0.1", 0}, "--listen").ok());
  const absl::Status refused = require_loopback({"0.0.0.0", 7070}, "--listen");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.message().find("--listen 0.0.0.0:7070"), absl::string_view::npos);
  EXPECT_NE(refused.message().find("127.0.0.1:7070"), absl::string_view::npos);
}

TEST(ReadyFile, IsOneJsonObjectAndLeavesNoTemporaryFile) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / absl::StrCat("galleon-ready-", random_hex(8));
  std::filesystem::create_directory(folder);
  const std::string path = (folder / "ready.json").string();
  ASSERT_TRUE(write_ready_file(path, {42, "127.0.0.1:1", "127.0.0.1:2"}).ok());
  EXPECT_EQ(nlohmann::json::parse(*read_file(path)),
            (nlohmann::json{{"pid", 42}, {"listen", "127.0.0.1:1"}, {"metrics", "127.0.0.1:2"}}));
  ASSERT_TRUE(write_ready_file(path, {43, "", "127.0.0.1:2"}).ok());
  EXPECT_EQ(nlohmann::json::parse(*read_file(path)), (nlohmann::json{{"pid", 43}, {"metrics", "127.0.0.1:2"}}));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace galleon
