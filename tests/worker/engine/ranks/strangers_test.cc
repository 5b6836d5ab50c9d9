// Strangers on the port at which ranks meet: silent, slow, chattering, and many.
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "absl/time/clock.h"
#include "tests/patience.h"
#include "tests/worker/engine/ranks/with_ranks.h"
#include "worker/engine/ranks/reception.h"
#include "worker/engine/ranks/socket_communicator.h"
#include "worker/engine/ranks/sockets.h"

namespace galleon {
namespace {

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";

class Strangers : public testing::Test {
 protected:
  void SetUp() override {
    for (int rank = 0; rank < 2; ++rank) {
      absl::StatusOr<Listener> listener = listen_on("127.0.0.1");
      ASSERT_TRUE(listener.ok()) << listener.status();
      offers_.push_back({{}, listener->address, kSecret});
      listeners_.push_back(*std::move(listener));
    }
  }

  FileDescriptor stranger(const std::string& says) {
    absl::StatusOr<FileDescriptor> caller = connect_to(offers_[0].address, nullptr, absl::Now() + kPatience);
    EXPECT_TRUE(caller.ok()) << caller.status();
    if (!caller.ok()) return {};
    EXPECT_TRUE(send_all(caller->get(), says, absl::Now() + kPatience).ok());
    return *std::move(caller);
  }

  // Whether both ranks meet, and how long rank 1 took.
  absl::Duration meet() {
    const absl::Time begin = absl::Now();
    absl::StatusOr<std::vector<FileDescriptor>> answered;
    std::thread answerer([&] { answered = connect_ranks(listeners_[0], 0, offers_, begin + kPatience); });
    const absl::StatusOr<std::vector<FileDescriptor>> called =
        connect_ranks(listeners_[1], 1, offers_, begin + kPatience);
    answerer.join();
    EXPECT_TRUE(called.ok()) << called.status();
    EXPECT_TRUE(answered.ok()) << answered.status();
    return absl::Now() - begin;
  }

  std::vector<Listener> listeners_;
  std::vector<RankOffer> offers_;
};

TEST_F(Strangers, SilentCallersHoldNoRankUp) {
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 40; ++i) silent.push_back(stranger(""));
  // One after the other, each with its patience, they would take minutes.
  EXPECT_LT(meet(), absl::Seconds(30));
}

TEST_F(Strangers, HalfGreetingsAndNonsenseHoldNoRankUp) {
  std::vector<FileDescriptor> all;
  for (int i = 0; i < 20; ++i) {
    all.push_back(stranger("galleon200000001half"));
    all.push_back(stranger("GET / HTTP/1.1\r\nHost: here\r\n\r\n"));
    all.push_back(stranger("galleon2-0000001" + std::string(16, 'n')));
    all.push_back(stranger("galleon200000001" + std::string(16, 'n')));  // and no proof after it
  }
  EXPECT_LT(meet(), absl::Seconds(30));
}

TEST_F(Strangers, WhoChattersWithoutEndIsHungUpOn) {
  std::atomic<bool> hung_up = false;
  std::thread chatterer([&] {
    const FileDescriptor caller = stranger("");
    const absl::Time end = absl::Now() + kPatience;
    while (absl::Now() < end && ::send(caller.get(), "?", 1, MSG_NOSIGNAL) == 1) absl::SleepFor(absl::Milliseconds(1));
    hung_up = absl::Now() < end;
  });
  Reception reception(
      listeners_[0].socket.get(), [](int) { return kSecret; }, false);
  EXPECT_FALSE(reception.next(absl::Now() + absl::Seconds(2)).has_value());
  chatterer.join();
  EXPECT_TRUE(hung_up);
}

TEST_F(Strangers, MoreThanThereIsRoomForGiveTheirPlacesToWhoComesAfterThem) {
  std::vector<FileDescriptor> many;
  for (int i = 0; i < 400; ++i) many.push_back(stranger(""));
  EXPECT_LT(meet(), absl::Seconds(30));
}

TEST_F(Strangers, NobodyIsExpectedTwice) {
  int claims = 0;
  Reception reception(
      listeners_[0].socket.get(), [&](int rank) { return rank == 1 && claims == 0 ? kSecret : ""; }, false);
  std::vector<std::thread> callers;
  std::atomic<int> greeted = 0;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] {
      absl::StatusOr<FileDescriptor> caller = connect_to(offers_[0].address, nullptr, absl::Now() + kPatience);
      if (caller.ok() && greet(caller->get(), 1, kSecret, absl::Now() + kPatience).ok()) ++greeted;
    });
  }
  std::optional<Caller> first = reception.next(absl::Now() + kPatience);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->rank, 1);
  ++claims;
  EXPECT_FALSE(reception.next(absl::Now() + absl::Seconds(1)).has_value());
  listeners_[0].socket.reset();
  for (std::thread& caller : callers) caller.join();
}

TEST(Meeting, RanksThatDoNotMeetAreTheEnvironmentsFault) {
  TestFolder folder;
  std::unique_ptr<Device> device = make_cpu_device(1);
  std::unique_ptr<Rendezvous> rendezvous = make_folder_rendezvous(folder.path() + "/meeting");
  SocketOptions options;
  options.meeting_timeout = absl::Milliseconds(100);
  const absl::Status alone = make_socket_communicator(*device, 0, 2, *rendezvous, {"1.0", ""}, options).status();
  EXPECT_TRUE(absl::IsUnavailable(alone)) << alone;
}

}  // namespace
}  // namespace galleon
