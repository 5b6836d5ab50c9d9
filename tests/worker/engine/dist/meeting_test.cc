// How ranks meet, who is turned away, and how the end or the silence of one is told by the others.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "absl/strings/match.h"
#include "tests/worker/engine/dist/with_ranks.h"
#include "worker/engine/dist/sockets.h"

namespace galleon {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<absl::Status> meet(int ranks, const std::vector<int>& present,
                               const std::function<RankIdentity(int)>& identity, const SocketOptions& options) {
  TestFolder folder;
  std::vector<absl::Status> results(ranks, absl::UnknownError("did not come"));
  std::vector<std::thread> threads;
  for (const int rank : present) {
    threads.emplace_back([&, rank] {
      std::unique_ptr<Device> device = make_cpu_device(1);
      std::unique_ptr<Rendezvous> rendezvous = make_folder_rendezvous(folder.path() + "/meeting");
      results[rank] = make_socket_communicator(*device, rank, ranks, *rendezvous, identity(rank), options).status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

TEST(Meeting, RanksOfAnotherVersionAreRefusedWithBothVersions) {
  const std::vector<absl::Status> results = meet(3, {0, 1, 2},
                                                 [](int rank) {
                                                   return RankIdentity{rank == 2 ? "2.0" : "1.0", "a: 1\n"};
                                                 },
                                                 {});
  for (const absl::Status& status : results) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(status.message(), "rank 2 runs version 2.0 of the program, and rank 0 version 1.0");
  }
}

TEST(Meeting, RanksOfAnotherJobAreRefusedWithTheKeysThatDiffer) {
  const std::vector<absl::Status> results = meet(
      2, {0, 1},
      [](int rank) {
        return RankIdentity{"1.0", rank == 0 ? "optimizer.rule: ADAMW\nsame: 1\n" : "optimizer.rule: SGD\nsame: 1\n"};
      },
      {});
  for (const absl::Status& status : results) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(status.message(), "rank 1 has another job than rank 0: optimizer.rule (ADAMW on rank 0, SGD on rank 1)");
  }
}

TEST(Meeting, WhoDoesNotComeIsNamed) {
  SocketOptions options;
  options.meeting_timeout = absl::Milliseconds(200);
  const std::vector<absl::Status> results = meet(
      4, {0, 2},
      [](int) {
        return RankIdentity{"1.0", ""};
      },
      options);
  for (const int rank : {0, 2}) {
    EXPECT_EQ(results[rank].code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(results[rank].message()), HasSubstr("ranks 1, 3 of 4 did not come to "));
  }
}

TEST(Meeting, AnAddressOfAnotherMachineIsRefusedByName) {
  EXPECT_THAT(std::string(listen_on("192.0.2.1").status().message()), HasSubstr("cannot listen on 192.0.2.1"));
}

TEST(Meeting, AStrangerWithoutTheSecretIsTurnedAwayAndDisturbsNobody) {
  absl::StatusOr<Listener> first = listen_on("127.0.0.1");
  absl::StatusOr<Listener> second = listen_on("127.0.0.1");
  ASSERT_TRUE(first.ok() && second.ok());
  const std::vector<RankOffer> offers{{{}, first->address, "0123456789abcdef0123456789abcdef"},
                                      {{}, second->address, "fedcba9876543210fedcba9876543210"}};
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  // Two strangers come first: one knows nothing, one claims to be rank 1.
  std::vector<RankOffer> guessed = offers;
  guessed[0].secret = "another";
  absl::StatusOr<std::vector<FileDescriptor>> stranger =
      connect_ranks(*second, 1, guessed, absl::Now() + absl::Seconds(5));
  ASSERT_TRUE(stranger.ok()) << "the kernel takes the call";
  absl::StatusOr<std::vector<FileDescriptor>> called;
  std::thread caller([&] { called = connect_ranks(*second, 1, offers, deadline); });
  absl::StatusOr<std::vector<FileDescriptor>> answered = connect_ranks(*first, 0, offers, deadline);
  caller.join();
  ASSERT_TRUE(answered.ok()) << answered.status();
  ASSERT_TRUE(called.ok());
  ASSERT_EQ(::send((*called)[0].get(), "x", 1, 0), 1);
  char got = 0;
  while (::recv((*answered)[1].get(), &got, 1, 0) != 1) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(got, 'x') << "the connection is the right rank's";
}

TEST(Watchdog, ASilentRankIsNamedWithOperationAndStep) {
  SocketOptions options;
  options.hang_timeout = absl::Milliseconds(300);
  with_ranks(
      3,
      [](Rank& self) {
        self.communicator.set_step(12);
        if (self.communicator.rank() == 1) {
          absl::SleepFor(absl::Milliseconds(1200));
          return;
        }
        Arena arena(self.device);
        const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 9, 4);
        const absl::Time start = absl::Now();
        self.communicator.reduce_scatter_rows({{x, 1, Content::kUpdate}});
        EXPECT_LT(absl::Now() - start, absl::Seconds(1));
        EXPECT_EQ(self.communicator.status().code(), absl::StatusCode::kDeadlineExceeded);
        EXPECT_THAT(
            std::string(self.communicator.status().message()),
            AllOf(HasSubstr(absl::StrCat("rank ", self.communicator.rank(), " of 3 in reduce_scatter of step 12")),
                  HasSubstr("it hangs: nothing has moved for 300ms; rank 1 still has to send 48 bytes")));
        // Sticky: the next operation returns at once.
        self.communicator.all_reduce(x, Content::kStatistic);
        EXPECT_LT(absl::Now() - start, absl::Seconds(1));
        // Keeps its connections until the others have told the same.
        absl::SleepFor(absl::Milliseconds(300));
      },
      options);
}

TEST(Watchdog, TheEndOfARankIsToldAtOnceByThoseWhoWaitForIt) {
  with_ranks(2, [](Rank& self) {
    if (self.communicator.rank() == 1) return;
    Arena arena(self.device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 9, 4);
    const absl::Time start = absl::Now();
    self.communicator.all_reduce(x, Content::kStatistic);
    EXPECT_LT(absl::Now() - start, absl::Seconds(5));
    EXPECT_EQ(self.communicator.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(self.communicator.status().message()), HasSubstr("rank 1 has ended"));
  });
}

TEST(Watchdog, TheEndOfARankIsToldByThoseWhoWaitForAnotherThatWaitsForIt) {
  with_ranks(3, [](Rank& self) {
    Arena arena(self.device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 9, 4);
    // Rank 0 waits for rank 1, which does something else for long; rank 2 has ended.
    if (self.communicator.rank() == 2) return;
    if (self.communicator.rank() == 1) {
      absl::SleepFor(absl::Seconds(7));
      return;
    }
    const absl::Time start = absl::Now();
    self.communicator.broadcast(x, 1, Content::kSubspace);
    EXPECT_LT(absl::Now() - start, absl::Seconds(6.5));
    EXPECT_THAT(std::string(self.communicator.status().message()), HasSubstr("rank 2 has ended"));
  });
}

TEST(Watchdog, TheRankThatOthersWaitForWaitsLeast) {
  std::vector<double> waited(3);
  with_ranks(3, [&](Rank& self) {
    for (int i = 0; i < 5; ++i) {
      if (self.communicator.rank() == 1) absl::SleepFor(absl::Milliseconds(40));
      std::vector<double> one{1.0};
      self.communicator.all_reduce_host(one);
    }
    waited[self.communicator.rank()] = self.communicator.waited_seconds();
  });
  EXPECT_GT(waited[0], waited[1] + 0.1);
  EXPECT_GT(waited[2], waited[1] + 0.1);
}

}  // namespace
}  // namespace galleon
