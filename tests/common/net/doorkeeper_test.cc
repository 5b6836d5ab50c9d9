// Who gets past the door: whole beginnings, and no more than so many; the silent and the foreign cost nothing for long.
#include "common/net/doorkeeper.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/patience.h"

namespace galleon {
namespace {

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// A record with a handshake of 3 bytes.
const std::string kHello("\x16\x03\x01\x00\x03xyz", 8);

class DoorkeeperTest : public testing::Test {
 protected:
  void open(Doorkeeper::Options options = {}) {
    absl::StatusOr<ListenSocket> listener = listen_tcp({"127.0.0.1", 0}, 128);
    ASSERT_TRUE(listener.ok()) << listener.status();
    port_ = listener->address.port;
    options.hand_over = [this](int fd, int) {
      const std::lock_guard<std::mutex> lock(mutex_);
      inside_.push_back(fd);
    };
    door_ = *Doorkeeper::start(*std::move(listener), std::move(options));
  }
  void TearDown() override {
    door_.reset();
    for (const int fd : inside_) ::close(fd);
  }
  FileDescriptor knock(const std::string& words = "") const {
    FileDescriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port_);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    say(fd, words);
    return fd;
  }
  static void say(const FileDescriptor& fd, const std::string& words) {
    if (!words.empty()) (void)!::send(fd.get(), words.data(), words.size(), MSG_NOSIGNAL);
  }
  size_t inside() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return inside_.size();
  }
  // What the server does when it is done with a connection.
  void server_closes(size_t index) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ::shutdown(inside_[index], SHUT_RDWR);
    ::close(inside_[index]);
    inside_.erase(inside_.begin() + static_cast<ptrdiff_t>(index));
  }
  static bool is_closed(const FileDescriptor& fd) {
    char byte;
    const ssize_t n = ::recv(fd.get(), &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN);
  }

  uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<int> inside_;
  std::unique_ptr<Doorkeeper> door_;
};

TEST_F(DoorkeeperTest, WhoBeginsIsLetInWithAllThatWasSaid) {
  open();
  const FileDescriptor at_once = knock(std::string(kPreface) + "more");
  ASSERT_TRUE(eventually([&] { return inside() == 1; }));
  char said[64] = "";
  EXPECT_EQ(::recv(inside_[0], said, sizeof(said), 0), static_cast<ssize_t>(sizeof(kPreface) - 1 + 4));
  EXPECT_EQ(std::string(said), std::string(kPreface) + "more");
  // In pieces too.
  const FileDescriptor slowly = knock("PRI * HT");
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(inside(), 1U);
  say(slowly, std::string(kPreface).substr(8));
  EXPECT_TRUE(eventually([&] { return inside() == 2; }));
  EXPECT_EQ(door_->counts().open, 2U);
  EXPECT_TRUE(door_->alive().ok());
}

TEST_F(DoorkeeperTest, WithTlsAWholeFirstRecordIsABeginning) {
  open({.tls = true});
  const FileDescriptor slowly = knock(kHello.substr(0, 3));
  say(slowly, kHello.substr(3, 4));
  const FileDescriptor plain = knock(kPreface);
  ASSERT_TRUE(eventually([&] { return is_closed(plain); }));
  EXPECT_EQ(inside(), 0U);
  say(slowly, kHello.substr(7));
  EXPECT_TRUE(eventually([&] { return inside() == 1; }));
  for (const std::string& foreign : {std::string("GET / HTTP/1.1\r\n"), std::string("\x16\x03\x01\xff\xff", 5),
                                     std::string("\x16\x03\x01\x00\x00", 5)}) {
    const FileDescriptor fd = knock(foreign);
    EXPECT_TRUE(eventually([&] { return is_closed(fd); })) << foreign;
  }
  EXPECT_EQ(door_->counts().turned_away, 4U);
}

TEST_F(DoorkeeperTest, WhoHangsUpInTheMiddleOrAfterwardsLeavesNothing) {
  open();
  knock("PRI *").reset();
  knock().reset();
  EXPECT_TRUE(eventually([&] { return door_->counts().turned_away == 2; }));
  FileDescriptor guest = knock(kPreface);
  ASSERT_TRUE(eventually([&] { return door_->counts().open == 1; }));
  guest.reset();
  server_closes(0);
  EXPECT_TRUE(eventually([&] { return door_->counts().open == 0; }));
  // The server ends it first.
  const FileDescriptor other = knock(kPreface);
  ASSERT_TRUE(eventually([&] { return inside() == 1; }));
  server_closes(0);
  EXPECT_TRUE(eventually([&] { return door_->counts().open == 0 && is_closed(other); }));
}

TEST_F(DoorkeeperTest, SilenceEndsAndShutsNobodyOut) {
  open({.most = 40, .most_silent = 10, .patience = absl::Milliseconds(300)});
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 15; ++i) silent.push_back(knock());
  ASSERT_TRUE(eventually([&] { return door_->counts().turned_away >= 5; })) << "beyond ten the oldest goes";
  const FileDescriptor guest = knock(kPreface);
  EXPECT_TRUE(eventually([&] { return inside() == 1; }));
  EXPECT_TRUE(eventually([&] { return door_->counts().silent == 0; }));
  for (const FileDescriptor& fd : silent) EXPECT_TRUE(is_closed(fd));
  EXPECT_FALSE(is_closed(guest));
}

TEST_F(DoorkeeperTest, WhoSaysTooMuchWithoutAnAnswerIsEnded) {
  open({.most_unanswered = 1 << 20});
  const FileDescriptor talks = knock(kPreface);
  ASSERT_TRUE(eventually([&] { return inside() == 1; }));
  const FileDescriptor is_answered = knock(kPreface);
  ASSERT_TRUE(eventually([&] { return inside() == 2; }));
  const std::string piece(64 << 10, 'x');
  std::string taken(piece.size(), '\0');
  const auto pass_on = [&](const FileDescriptor& from, int to) {
    say(from, piece);
    for (size_t at = 0; at < piece.size();) {
      const ssize_t n = ::recv(to, taken.data(), taken.size(), 0);
      if (n <= 0) return;
      at += static_cast<size_t>(n);
    }
  };
  const int of_talker = inside_[0];
  const int of_other = inside_[1];
  // As much again and again, with a word in between.
  for (int i = 0; i < 60; ++i) {
    pass_on(is_answered, of_other);
    ASSERT_EQ(::send(of_other, "an answer", 9, MSG_NOSIGNAL), 9);
  }
  absl::SleepFor(absl::Milliseconds(1'200));  // more than a look
  EXPECT_EQ(door_->counts().ended, 0U);
  for (int i = 0; i < 17; ++i) pass_on(talks, of_talker);
  EXPECT_TRUE(eventually([&] { return door_->counts().ended == 1; }));
  EXPECT_TRUE(eventually([&] { return is_closed(talks); }));
  char byte;
  EXPECT_LT(::recv(of_talker, &byte, 1, 0), 1) << "the server sees the end";
  EXPECT_EQ(::send(is_answered.get(), "x", 1, MSG_NOSIGNAL), 1);
  absl::SleepFor(absl::Milliseconds(200));  // some looks
  EXPECT_EQ(door_->counts().ended, 1U) << "counted once";
}

TEST_F(DoorkeeperTest, AConnectionThatIsNamedIsEndedWithAllThatWasNotRead) {
  open();
  const FileDescriptor named = knock(std::string(kPreface) + "unread");
  ASSERT_TRUE(eventually([&] { return inside() == 1; }));
  const FileDescriptor other = knock(kPreface);
  ASSERT_TRUE(eventually([&] { return inside() == 2; }));
  sockaddr_in own{};
  socklen_t length = sizeof(own);
  ASSERT_EQ(::getsockname(named.get(), reinterpret_cast<sockaddr*>(&own), &length), 0);
  const std::string peer = absl::StrCat("ipv4:127.0.0.1:", ntohs(own.sin_port));
  for (const char* unknown : {"", "inproc", "ipv4:127.0.0.1:1", "127.0.0.1"}) door_->end(unknown);
  door_->end(peer);
  door_->end(peer);
  EXPECT_TRUE(eventually([&] { return is_closed(named); }));
  EXPECT_TRUE(eventually([&] { return door_->counts().flooding == 1; }));
  char byte;
  EXPECT_LT(::recv(inside_[0], &byte, 1, 0), 1) << "the server reads nothing of it";
  EXPECT_FALSE(is_closed(other));
  door_->end(peer);
  absl::SleepFor(absl::Milliseconds(100));  // more than a round
  EXPECT_EQ(door_->counts().flooding, 1U) << "counted once";
}

TEST_F(DoorkeeperTest, OneAddressDoesNotTakeAllPlaces) {
  open({.most = 40, .most_of_address = 5});
  std::vector<FileDescriptor> guests;
  for (int i = 0; i < 9; ++i) guests.push_back(knock(kPreface));
  EXPECT_TRUE(eventually([&] { return door_->counts().refused == 4; }));
  EXPECT_EQ(door_->counts().open, 5U);
  guests.erase(guests.begin());
  server_closes(0);
  ASSERT_TRUE(eventually([&] { return door_->counts().open == 4; }));
  const FileDescriptor next = knock(kPreface);
  EXPECT_TRUE(eventually([&] { return door_->counts().open == 5; }));
}

TEST_F(DoorkeeperTest, WithoutDescriptorsItWaitsAndGoesOn) {
  open();
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  FileDescriptor first = knock(kPreface);
  ASSERT_TRUE(eventually([&] { return inside() == 1; }));
  const FileDescriptor second = knock();  // by now nothing more can be opened here
  ASSERT_TRUE(eventually([&] { return door_->counts().silent == 1; }));
  FileDescriptor waits(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port_);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::connect(waits.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  say(waits, kPreface);
  absl::SleepFor(absl::Milliseconds(250));
  EXPECT_EQ(inside(), 1U);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(eventually([&] { return inside() == 2; })) << "deaf once it had no descriptors";
}

TEST_F(DoorkeeperTest, AThousandSilentConnectionsLeaveNoDescriptorBehind) {
  ASSERT_GT(raise_descriptor_limit(), 3'000U);
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  open({.patience = absl::Milliseconds(500)});
  const auto before = descriptors();
  {
    std::vector<FileDescriptor> silent;
    for (int i = 0; i < 1'100; ++i) silent.push_back(knock());
    const FileDescriptor guest = knock(kPreface);
    EXPECT_TRUE(eventually([&] { return inside() == 1; }));
    EXPECT_TRUE(eventually([&] { return door_->counts().silent == 0; }));
  }
  server_closes(0);
  EXPECT_TRUE(eventually([&] { return descriptors() == before; })) << descriptors() << " " << before;
}

}  // namespace
}  // namespace galleon
