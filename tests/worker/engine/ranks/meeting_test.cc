// How ranks meet, who is turned away, and how the end or the silence of one is told by the others.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "absl/strings/match.h"
#include "tests/patience.h"
#include "tests/worker/engine/ranks/with_ranks.h"
#include "worker/engine/ranks/sockets.h"
#include "worker/engine/run/shared_folder.h"

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
  options.meeting_timeout = absl::Seconds(2);
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

// What each of `ranks` gets from a rendezvous of its own.
std::vector<absl::StatusOr<std::vector<std::string>>> exchange_all(
    int ranks, const std::function<std::unique_ptr<Rendezvous>(int)>& rendezvous,
    const std::function<int(int)>& ranks_of, absl::Duration timeout) {
  std::vector<absl::StatusOr<std::vector<std::string>>> got(ranks, absl::UnknownError("did not run"));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      got[rank] = rendezvous(rank)->exchange(rank, ranks_of(rank), std::string(rank, 'x') + "offer", timeout);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return got;
}

TEST(Meeting, WhatAnEarlierRunLeftInTheFolderIsNotTakenForAnOffer) {
  TestFolder folder;
  auto meeting = [&](int) { return make_folder_rendezvous(folder.path() + "/meeting"); };
  for (int attempt = 0; attempt < 3; ++attempt) {
    std::vector<std::vector<std::string>> got(3);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 3; ++rank) {
      threads.emplace_back([&, rank] {
        // The last one comes late, when the others have long found an older file of its name.
        if (rank == 2) absl::SleepFor(absl::Milliseconds(100));
        got[rank] = meeting(rank)->exchange(rank, 3, absl::StrCat(attempt, "/", rank), kPatience).value();
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (int rank = 0; rank < 3; ++rank) {
      for (int other = 0; other < 3; ++other) EXPECT_EQ(got[rank][other], absl::StrCat(attempt, "/", other));
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() + "/meeting")) {
    EXPECT_EQ(entry.status().permissions(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_write)
        << entry.path() << " holds a secret";
  }
}

std::string free_address() {
  return listen_on("127.0.0.1")->address;  // closed at once
}

TEST(Meeting, RanksMeetAtAnAddressWithoutAFolder) {
  const std::string address = free_address();
  const auto got = exchange_all(
      4,
      [&](int rank) {
        if (rank == 0) absl::SleepFor(absl::Milliseconds(200));  // the others call before anyone answers
        return make_address_rendezvous(address, "0123456789abcdef");
      },
      [](int) { return 4; }, kPatience);
  for (const auto& offers : got) {
    ASSERT_TRUE(offers.ok()) << offers.status();
    EXPECT_EQ(*offers, (std::vector<std::string>{"offer", "xoffer", "xxoffer", "xxxoffer"}));
  }
}

TEST(Meeting, WhoKnowsAnotherSecretDoesNotMeetAndIsToldSo) {
  const std::string address = free_address();
  const auto got = exchange_all(
      2, [&](int rank) { return make_address_rendezvous(address, absl::StrCat("0123456789abcde", rank)); },
      [](int) { return 2; }, absl::Seconds(3));
  EXPECT_THAT(std::string(got[0].status().message()), HasSubstr("rank 1 of 2 did not come to "));
  EXPECT_THAT(std::string(got[1].status().message()), HasSubstr("does not know this attempt's secret"));
}

TEST(Meeting, RanksOfGroupsOfDifferentSizesAreToldBothSizes) {
  const std::string address = free_address();
  const auto got = exchange_all(
      2, [&](int) { return make_address_rendezvous(address, "0123456789abcdef"); }, [](int rank) { return rank + 2; },
      kPatience);
  for (const auto& offers : got) {
    EXPECT_EQ(offers.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(offers.status().message(), "rank 1 was started as one of 3 ranks, and rank 0 as one of 2");
  }
}

TEST(Meeting, WhoDoesNotComeToAnAddressIsNamedToAll) {
  const std::string address = free_address();
  const auto got = exchange_all(
      2, [&](int) { return make_address_rendezvous(address, "0123456789abcdef"); }, [](int) { return 3; },
      absl::Seconds(3));
  for (const auto& offers : got)
    EXPECT_THAT(std::string(offers.status().message()), HasSubstr("rank 2 of 3 did not come to "));
}

TEST(Start, ACheckpointDirectoryThatIsNotSharedIsFoundAtTheStart) {
  TestFolder folder;
  with_ranks(3, [&](Rank& self) {
    const int rank = self.communicator.rank();
    const std::string own = absl::StrCat(folder.path(), rank == 2 ? "/elsewhere" : "/shared");
    const absl::Status status = check_shared_folder(own, "the checkpoint directory", self.communicator);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("rank 2 does not see in "), HasSubstr("/elsewhere"), HasSubstr("one folder that all")));
  });
  EXPECT_TRUE(std::filesystem::is_empty(folder.path() + "/shared")) << "the probe is removed";
  with_ranks(2, [&](Rank& self) {
    EXPECT_TRUE(check_shared_folder(folder.path() + "/shared", "the output folder", self.communicator).ok());
  });
}

TEST(Meeting, AnInterfaceIsTakenByItsName) {
  absl::StatusOr<Listener> listener = listen_on("lo");
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_THAT(listener->address, testing::StartsWith("127.0.0.1:"));
  EXPECT_THAT(std::string(listen_on("no-such-interface0").status().message()),
              HasSubstr("an interface, an address or a name of this machine is accepted"));
}

TEST(Meeting, AnImpostorAtARanksAddressLearnsNothingAndIsRefused) {
  absl::StatusOr<Listener> own = listen_on("127.0.0.1");
  absl::StatusOr<Listener> impostor = listen_on("127.0.0.1");
  const std::vector<RankOffer> offers{{{}, impostor->address, "0123456789abcdef"}, {{}, own->address, "fedcba98"}};
  std::string heard;
  std::thread answers([&] {
    const absl::Time deadline = absl::Now() + kPatience;
    ASSERT_TRUE(wait_for_socket(impostor->socket.get(), POLLIN, deadline));
    FileDescriptor caller(::accept(impostor->socket.get(), nullptr, nullptr));
    heard = receive_exactly(caller.get(), 32, deadline).value_or("");
    ASSERT_TRUE(send_all(caller.get(), std::string(48, 'x'), deadline).ok());
    heard += receive_exactly(caller.get(), 1, deadline).value_or("");
  });
  const absl::Status status = connect_ranks(*own, 1, offers, absl::Now() + kPatience).status();
  answers.join();
  EXPECT_THAT(std::string(status.message()), HasSubstr("who answers does not know this attempt's secret"));
  EXPECT_THAT(heard, testing::Not(HasSubstr("0123456789abcdef")));
  EXPECT_EQ(heard.size(), 32U) << "no proof for whoever has none";
}

TEST(Meeting, AStrangerWithoutTheSecretIsTurnedAwayAndDisturbsNobody) {
  absl::StatusOr<Listener> first = listen_on("127.0.0.1");
  absl::StatusOr<Listener> second = listen_on("127.0.0.1");
  ASSERT_TRUE(first.ok() && second.ok());
  const std::vector<RankOffer> offers{{{}, first->address, "0123456789abcdef0123456789abcdef"},
                                      {{}, second->address, "fedcba9876543210fedcba9876543210"}};
  const absl::Time deadline = absl::Now() + kPatience;
  absl::StatusOr<std::vector<FileDescriptor>> answered;
  std::thread answerer([&] { answered = connect_ranks(*first, 0, offers, deadline); });
  // Strangers come first: one that says something else, one that claims to be rank 1 with another secret.
  absl::StatusOr<FileDescriptor> babbler = connect_to(first->address, nullptr, deadline);
  ASSERT_TRUE(babbler.ok()) << babbler.status();
  ASSERT_TRUE(send_all(babbler->get(), std::string(64, '?'), deadline).ok());
  EXPECT_FALSE(receive_exactly(babbler->get(), 1, deadline).ok()) << "it is hung up on without a word";
  std::vector<RankOffer> guessed = offers;
  guessed[0].secret = "another";
  const absl::StatusOr<std::vector<FileDescriptor>> stranger = connect_ranks(*second, 1, guessed, deadline);
  EXPECT_THAT(std::string(stranger.status().message()), HasSubstr("does not know this attempt's secret"));
  absl::StatusOr<std::vector<FileDescriptor>> called = connect_ranks(*second, 1, offers, deadline);
  answerer.join();
  ASSERT_TRUE(answered.ok()) << answered.status();
  ASSERT_TRUE(called.ok());
  ASSERT_EQ(::send((*called)[0].get(), "x", 1, 0), 1);
  char got = 0;
  while (::recv((*answered)[1].get(), &got, 1, 0) != 1) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(got, 'x') << "the connection is the right rank's";
}

TEST(Watchdog, RanksThatHaveComeApartAreToldByTheSizesOfTheirMessages) {
  with_ranks(2, [](Rank& self) {
    Arena arena(self.device);
    const int rank = self.communicator.rank();
    self.communicator.set_step(3 + rank);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 8 + 4 * rank, 4);
    self.communicator.broadcast(x, 0, Content::kSubspace);
    if (rank == 0) return;
    EXPECT_EQ(self.communicator.status().code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(self.communicator.status().message()),
                HasSubstr("ranks have come apart: rank 0 sent message 1 of 128 bytes in step 3, due was message 1 of "
                          "192 bytes in step 4"));
  });
}

TEST(Watchdog, ASilentRankIsNamedWithOperationAndStep) {
  SocketOptions options;
  options.hang_timeout = absl::Seconds(2);
  // Connections stay until both others have told.
  std::atomic<int> told{0};
  with_ranks(
      3,
      [&](Rank& self) {
        self.communicator.set_step(12);
        if (self.communicator.rank() == 1) {
          EXPECT_TRUE(eventually([&] { return told == 2; }));
          return;
        }
        Arena arena(self.device);
        const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 9, 4);
        self.communicator.reduce_scatter_rows({{x, 1, Content::kUpdate}});
        EXPECT_EQ(self.communicator.status().code(), absl::StatusCode::kDeadlineExceeded);
        EXPECT_THAT(
            std::string(self.communicator.status().message()),
            AllOf(HasSubstr(absl::StrCat("rank ", self.communicator.rank(), " of 3 in reduce_scatter of step 12")),
                  HasSubstr("it hangs: nothing has moved for 2s; rank 1 still has to send 48 bytes")));
        // Sticky: the next operation returns at once.
        const absl::Time again = absl::Now();
        self.communicator.all_reduce(x, Content::kStatistic);
        EXPECT_LT(absl::Now() - again, options.hang_timeout);
        ++told;
        EXPECT_TRUE(eventually([&] { return told == 2; }));
      },
      options);
}

TEST(Watchdog, TheEndOfARankIsToldAtOnceByThoseWhoWaitForIt) {
  with_ranks(2, [](Rank& self) {
    if (self.communicator.rank() == 1) return;
    Arena arena(self.device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 9, 4);
    self.communicator.all_reduce(x, Content::kStatistic);
    EXPECT_EQ(self.communicator.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(self.communicator.status().message()), HasSubstr("rank 1 has ended"));
  });
}

TEST(Watchdog, TheEndOfARankIsToldByThoseWhoWaitForAnotherThatWaitsForIt) {
  std::atomic<bool> told{false};
  with_ranks(3, [&told](Rank& self) {
    Arena arena(self.device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 9, 4);
    // Rank 0 waits for rank 1, which does something else for long; rank 2 has ended.
    if (self.communicator.rank() == 2) return;
    if (self.communicator.rank() == 1) {
      EXPECT_TRUE(eventually([&] { return told.load(); }));
      return;
    }
    self.communicator.broadcast(x, 1, Content::kSubspace);
    told = true;
    EXPECT_THAT(std::string(self.communicator.status().message()), HasSubstr("rank 2 has ended"));
  });
}

TEST(Watchdog, TheRankThatOthersWaitForWaitsLeast) {
  std::vector<double> waited(3);
  with_ranks(3, [&](Rank& self) {
    for (int i = 0; i < 5; ++i) {
      if (self.communicator.rank() == 1) absl::SleepFor(absl::Milliseconds(200));
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
