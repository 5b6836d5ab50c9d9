#include "server/notify/notify_file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/ids.h"

namespace galleon::server {
namespace {

using testing::HasSubstr;
using testing::Not;

class NotifyFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-notify-", random_hex(8))).string();
    std::filesystem::create_directory(folder_);
    write("secret", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n");  // 0123…, 24 bytes
    write("url", "https://chat.example.org/hooks/hidden-word\n");
    write("bad-url", "http://chat.example.org/hidden-word\n");
    write("short", "whsec_c2hvcnQ=\n");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(write_file_atomically(folder_ + "/" + name, text).ok());
    ASSERT_EQ(::chmod((folder_ + "/" + name).c_str(), 0600), 0);
  }
  std::string file(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
};

TEST_F(NotifyFile, EveryKeyIsRead) {
  const absl::StatusOr<NotifyConfig> config =
      parse_notify(absl::StrCat("waiting: 90m\nreceivers:\n  chat: {url_file: ", file("url"),
                                ", kinds: [job.failed, job.waits], queues: [lab], owners: [ann, bob]}\n"
                                "  gateway: {url: 'http://127.0.0.1:9/x', secret_file: ",
                                file("secret"), ", ca_file: ", file("url"), ", timeout: 3s}\n"),
                   "n.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->waiting, absl::Minutes(90));
  ASSERT_EQ(config->receivers.size(), 2U);
  const ReceiverConfig& chat = config->receivers[0];
  EXPECT_EQ(chat.url, "https://chat.example.org/hooks/hidden-word");
  EXPECT_EQ(chat.host, "chat.example.org");
  EXPECT_EQ(chat.kinds, (std::set<std::string>{"job.failed", "job.waits"}));
  EXPECT_EQ(chat.queues, std::set<std::string>{"lab"});
  EXPECT_EQ(chat.owners, (std::set<std::string>{"ann", "bob"}));
  const ReceiverConfig& gateway = config->receivers[1];
  EXPECT_EQ(gateway.secret, "012345678901234567890123");
  EXPECT_EQ(gateway.timeout, absl::Seconds(3));
  EXPECT_EQ(gateway.ca_file, file("url"));
  EXPECT_EQ(gateway.kinds.size(), 6U);  // all
  EXPECT_TRUE(check_queues(*config, {"default", "lab"}).ok());
  EXPECT_EQ(check_queues(*config, {"default"}).message(),
            "receivers.chat.queues: there is no queue \"lab\"; there are default");
}

TEST_F(NotifyFile, WhatIsWrongIsNamedWithItsLineAndWithoutWhatIsSecret) {
  const auto receiver = [](const std::string& fields) { return "receivers:\n  a: {" + fields + "}"; };
  const std::string url = "url: 'https://x.example/'";
  for (const auto& [yaml, part] : std::vector<std::pair<std::string, std::string>>{
           {"[]", "a mapping with \"receivers\" is expected"},
           {"wait: 3s", "f:1: there is no key \"wait\"; there are waiting, receivers"},
           {"waiting: soon", "f:1: waiting: \"soon\" is not a duration between 1s and 30d, such as 30s"},
           {"receivers:\n  A: {}", "f:2: \"A\" is not a name"},
           {receiver("kinds: [job.failed]"), "f:2: receivers.a: url or url_file must be given"},
           {receiver(url + ", colour: red"), "receivers.a has no key \"colour\"; there are url, url_file"},
           {receiver(url + ", kinds: [job.born]"), "receivers.a.kinds: \"job.born\" is none; there are job.succeeded"},
           {receiver(url + ", kinds: [job.waits]"), "receivers.a.kinds: job.waits needs the key waiting"},
           {receiver(url + ", kinds: []"), "receivers.a.kinds: a list is expected"},
           {receiver(url + ", timeout: 1h"), "receivers.a.timeout: \"1h\" is not a duration between 1s and 1m"},
           {receiver("url: nowhere"), "receivers.a.url: "},
           {receiver("url: 'ftp://x.example/hidden-word'"), "receivers.a.url: must begin with https://"},
           {receiver("url: 'http://x.example/hidden-word'"),
            "receivers.a.url: must begin with https://, or with http://"},
           {receiver("url: 'http://127.hidden-word.example/'"),
            "receivers.a.url: must begin with https://, or with http://"},
           {receiver("url: 'https://u:hidden-word@x.example/'"), "receivers.a.url: has a user in it"},
           {receiver("url_file: " + file("bad-url")), "receivers.a.url_file: must begin with https://"},
           {receiver(url + ", url_file: " + file("url")), "receivers.a.url_file: give url or url_file, not both"},
           {receiver(url + ", secret_file: " + file("short")), "short has no secret of 24 to 64 bytes"},
           {receiver(url + ", secret_file: " + file("url")), "url has no secret of 24 to 64 bytes"},
           {receiver(url + ", secret_file: " + file("none")), "none"},
           {receiver(url) + "\n  a: {" + url + "}", "f:3: a is there twice"},
       }) {
    const absl::Status status = parse_notify(yaml, "f").status();
    EXPECT_FALSE(status.ok()) << yaml;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hidden-word")));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("c2hvcnQ")));
  }
  ::chmod(file("secret").c_str(), 0644);
  EXPECT_EQ(parse_notify(receiver(url + ", secret_file: " + file("secret")), "f").status().code(),
            absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace galleon::server
