// The communicator over NCCL, against one that records every call and carries data between threads instead of GPUs.
#include <deque>
#include <map>
#include <mutex>

#include "absl/strings/str_join.h"
#include "kernels/ops/activation.h"
#include "tests/worker/engine/ranks/with_ranks.h"
#include "worker/engine/ranks/nccl_communicator.h"

namespace galleon {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// What is on its way between the ranks of one group, by (id, from, to).
struct Wire {
  std::mutex mutex;
  std::map<std::tuple<std::string, int, int>, std::deque<std::string>> messages;
  std::map<std::string, int> begun;  // ranks by id
  int ids = 0;
};

class RecordingNccl final : public NcclApi {
 public:
  RecordingNccl(Wire& wire, int rank) : wire_(wire), rank_(rank) {}

  std::vector<std::string> calls;
  int looks_until_settled = 2;  // of state(), for each thing asked for
  bool deaf = false;            // nothing arrives

  absl::StatusOr<std::string> unique_id() override {
    const std::lock_guard<std::mutex> lock(wire_.mutex);
    calls.push_back("id");
    return absl::StrCat("id-", ++wire_.ids);
  }
  absl::StatusOr<Comm> begin_init(int rank, int ranks, const std::string& id) override {
    const std::lock_guard<std::mutex> lock(wire_.mutex);
    calls.push_back(absl::StrCat("init ", rank, "/", ranks, " ", id));
    id_ = id;
    ranks_ = ranks;
    ++wire_.begun[id];
    unsettled_ = looks_until_settled;
    return this;
  }
  absl::Status state(Comm) override {
    const std::lock_guard<std::mutex> lock(wire_.mutex);
    if (unsettled_-- > 0 || wire_.begun[id_] < ranks_) return absl::UnavailableError("under way");
    return absl::OkStatus();
  }
  absl::Status group_start() override {
    calls.push_back("group");
    EXPECT_FALSE(in_group_);
    in_group_ = true;
    return absl::OkStatus();
  }
  absl::Status send(Comm, const void* data, int64_t bytes, int to, Stream stream) override {
    EXPECT_TRUE(in_group_ && stream == own_stream());
    calls.push_back(absl::StrCat("send ", bytes, " to ", to));
    sends_.push_back({to, data, bytes});
    return absl::OkStatus();
  }
  absl::Status receive(Comm, void* data, int64_t bytes, int from, Stream stream) override {
    EXPECT_TRUE(in_group_ && stream == own_stream());
    calls.push_back(absl::StrCat("receive ", bytes, " from ", from));
    receives_.push_back({from, data, bytes});
    return absl::OkStatus();
  }
  absl::Status group_end() override {
    const std::lock_guard<std::mutex> lock(wire_.mutex);
    calls.push_back("end");
    in_group_ = false;
    for (const auto& [to, data, bytes] : sends_)
      wire_.messages[{id_, rank_, to}].emplace_back(static_cast<const char*>(data), bytes);
    sends_.clear();
    unsettled_ = looks_until_settled;
    return absl::OkStatus();
  }
  void abort(Comm) override {
    calls.push_back("abort");
    receives_.clear();
  }
  void destroy(Comm) override { calls.push_back("destroy"); }
  absl::StatusOr<Stream> create_stream() override {
    calls.push_back("stream");
    return own_stream();
  }
  void destroy_stream(Stream) override { calls.push_back("stream ends"); }
  absl::StatusOr<Event> create_event() override { return static_cast<Event>(&events_.emplace_back()); }
  void destroy_event(Event) override { ++destroyed_; }
  absl::Status record(Event, Stream stream) override {
    calls.push_back(stream == nullptr ? "record compute" : "record own");
    return absl::OkStatus();
  }
  absl::Status wait(Stream stream, Event) override {
    calls.push_back(stream == nullptr ? "compute waits" : "own waits");
    return absl::OkStatus();
  }
  absl::StatusOr<bool> done(Event) override {
    const std::lock_guard<std::mutex> lock(wire_.mutex);
    while (!receives_.empty() && !deaf) {
      auto& [from, data, bytes] = receives_.front();
      std::deque<std::string>& waiting = wire_.messages[{id_, from, rank_}];
      if (waiting.empty()) break;
      EXPECT_EQ(static_cast<int64_t>(waiting.front().size()), bytes);
      waiting.front().copy(static_cast<char*>(data), bytes);
      waiting.pop_front();
      receives_.pop_front();
    }
    return receives_.empty();
  }
  bool everything_given_back() const { return destroyed_ == events_.size(); }

 private:
  Stream own_stream() { return &rank_; }
  struct Message {
    int peer;
    const void* data;
    int64_t bytes;
  };
  struct Arrival {
    int peer;
    void* data;
    int64_t bytes;
  };
  Wire& wire_;
  int rank_;
  int ranks_ = 0;
  std::string id_;
  int unsettled_ = 0;
  bool in_group_ = false;
  std::vector<Message> sends_;
  std::deque<Arrival> receives_;
  std::deque<int> events_;
  size_t destroyed_ = 0;
};

struct NcclRank {
  Device& device;
  NcclCommunicator& communicator;
  RecordingNccl& nccl;
};

void with_nccl(int ranks, const NcclOptions& options, const std::function<void(NcclRank&)>& body) {
  TestFolder folder;
  Wire wire;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      std::unique_ptr<Device> device = make_cpu_device(1);
      std::unique_ptr<Rendezvous> rendezvous = make_folder_rendezvous(folder.path() + "/meeting");
      absl::StatusOr<std::unique_ptr<Communicator>> hosts =
          ranks == 1 ? make_single_communicator(*device)
                     : make_socket_communicator(*device, rank, ranks, *rendezvous, {"test", ""}, {});
      ASSERT_TRUE(hosts.ok()) << hosts.status();
      RecordingNccl nccl(wire, rank);
      {
        absl::StatusOr<std::unique_ptr<NcclCommunicator>> communicator =
            make_nccl_communicator(*device, *std::move(hosts), nccl, options);
        ASSERT_TRUE(communicator.ok()) << communicator.status();
        NcclRank self{*device, **communicator, nccl};
        body(self);
      }
      EXPECT_TRUE(nccl.everything_given_back());
      EXPECT_EQ(nccl.calls.back(), "stream ends");
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Nccl, OneExchangeIsOneGroupOnAStreamOfItsOwnBetweenTwoEvents) {
  with_nccl(2, {}, [](NcclRank& self) {
    const int rank = self.communicator.rank();
    const int other = 1 - rank;
    std::vector<std::string> begin{"stream", absl::StrCat("init ", rank, "/2 id-1")};
    if (rank == 0) begin.insert(begin.begin() + 1, "id");
    EXPECT_EQ(self.nccl.calls, begin);
    self.nccl.calls.clear();
    Arena arena(self.device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 8, 4);
    const Tensor y = arena.tensor("y", MemoryCategory::kGradients, 2, 2);
    self.communicator.reduce_scatter_rows({{x, 1, Content::kUpdate}, {y, 1, Content::kUpdate}});
    ASSERT_TRUE(self.communicator.status().ok()) << self.communicator.status();
    EXPECT_THAT(self.nccl.calls,
                ElementsAre("record compute", "own waits", "group", absl::StrCat("send 64 to ", other),
                            absl::StrCat("send 8 to ", other), absl::StrCat("receive 64 from ", other),
                            absl::StrCat("receive 8 from ", other), "end", "record own", "compute waits"));
    // What lives on hosts is not NCCL's.
    self.nccl.calls.clear();
    std::vector<double> one{1.0};
    self.communicator.all_reduce_host(one);
    EXPECT_EQ(one[0], 2.0);
    EXPECT_EQ(self.communicator.all_gather_text(absl::StrCat(rank))[other], absl::StrCat(other));
    EXPECT_TRUE(self.nccl.calls.empty());
  });
}

TEST(Nccl, CollectivesGiveTheBitsThatSocketsGive) {
  auto speak = [](Communicator& communicator, Device& device) {
    Arena arena(device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 13, 5);
    std::vector<float> numbers(x.size());
    for (int64_t i = 0; i < x.size(); ++i)
      numbers[i] = 0.1F * static_cast<float>((i * 7 + communicator.rank() * 5) % 23);
    device.upload(x, numbers.data());
    const Tensor memory = arena.tensor("flight", MemoryCategory::kGradients, 4096, 1, DataType::kUint8);
    communicator.begin_reduce_scatter_rows({{x, 2, Content::kUpdate}}, DataType::kBFloat16, memory);
    communicator.finish_reduce_scatter();
    communicator.finish_gather(communicator.begin_all_gather_rows({{x, 2, Content::kUpdate}}));
    communicator.all_reduce(x, Content::kStatistic);
    communicator.reduce(x, 2, Content::kStatistic);
    communicator.broadcast(x, 2, Content::kSubspace);
    EXPECT_TRUE(communicator.status().ok()) << communicator.status();
    return std::vector<float>(x.f32(), x.f32() + x.size());
  };
  std::vector<std::vector<float>> by_sockets(3);
  with_ranks(3, [&](Rank& self) { by_sockets[self.communicator.rank()] = speak(self.communicator, self.device); });
  with_nccl(3, {}, [&](NcclRank& self) {
    EXPECT_EQ(speak(self.communicator, self.device), by_sockets[self.communicator.rank()]);
  });
}

TEST(Nccl, AHangIsAbortedToldWithOperationAndStepAndBegunAnew) {
  NcclOptions options;
  options.hang_timeout = absl::Milliseconds(200);
  with_nccl(2, options, [](NcclRank& self) {
    Arena arena(self.device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 8, 4);
    self.communicator.set_step(9);
    self.nccl.deaf = true;
    self.communicator.all_gather_rows({{x, 1, Content::kUpdate}});
    EXPECT_EQ(self.communicator.status().code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_THAT(std::string(self.communicator.status().message()),
                HasSubstr(absl::StrCat("rank ", self.communicator.rank(), " of 2 in all_gather of step 9: it hangs")));
    EXPECT_EQ(self.nccl.calls.back(), "abort");
    // Sticky until it is begun anew, with another id.
    const size_t before = self.nccl.calls.size();
    self.communicator.all_gather_rows({{x, 1, Content::kUpdate}});
    EXPECT_EQ(self.nccl.calls.size(), before);
    self.nccl.deaf = false;
    ASSERT_TRUE(self.communicator.recreate().ok());
    EXPECT_THAT(self.nccl.calls, Contains(absl::StrCat("init ", self.communicator.rank(), "/2 id-2")));
    fill(self.device, x, 1.0F);
    self.communicator.all_reduce(x, Content::kStatistic);
    EXPECT_TRUE(self.communicator.status().ok()) << self.communicator.status();
    EXPECT_EQ(x.f32()[0], 2.0F);
  });
}

TEST(Nccl, ABeginningThatNeverEndsIsAbortedInTime) {
  Wire wire;
  std::unique_ptr<Device> device = make_cpu_device(1);
  RecordingNccl nccl(wire, 0);
  nccl.looks_until_settled = 1 << 30;
  NcclOptions options;
  options.init_timeout = absl::Milliseconds(100);
  const absl::Status status =
      make_nccl_communicator(*device, make_single_communicator(*device), nccl, options).status();
  EXPECT_EQ(status.message(), "NCCL did not begin on all ranks");
  EXPECT_THAT(nccl.calls, Contains("abort"));
  EXPECT_THAT(nccl.calls, Not(Contains("destroy")));
}

TEST(Nccl, OneRankBeginsAndIsDestroyedWithoutAnAbort) {
  with_nccl(1, {}, [](NcclRank& self) {
    Arena arena(self.device);
    const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 8, 4);
    self.communicator.all_reduce(x, Content::kStatistic);
    ASSERT_TRUE(self.communicator.recreate().ok());
    EXPECT_TRUE(self.communicator.status().ok());
  });
}

}  // namespace
}  // namespace galleon
