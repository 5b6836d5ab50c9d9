// Attacks on a scheduler that did harm once, or would where a bound is lost. Sizes are a tenth; GALLEON_SIEGE=full.
#include "tests/e2e/siege/siege.h"

#include "tests/e2e/siege/http2.h"

namespace galleon {
namespace {

using http2::frame;

// Answers of calls that are under way at the same time, some of each connection's.
class Flood {
 public:
  // Of one kind.
  explicit Flood(int most_at_a_time) : most_(most_at_a_time) {}
  ~Flood() { wait(); }

  template <typename Request, typename Response, typename Call>
  void send(const Request& request, Call call) {
    struct Pending {
      std::unique_ptr<grpc::ClientContext> context;
      Request request;
      Response response;
    };
    while (under_way_ >= most_) absl::SleepFor(absl::Milliseconds(1));
    ++under_way_;
    auto pending = std::make_shared<Pending>();
    pending->context = std::make_unique<grpc::ClientContext>();
    pending->context->set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    pending->request = request;
    call(pending->context.get(), &pending->request, &pending->response, [this, pending](const grpc::Status& status) {
      ++(status.ok() ? answered : status.error_code() == grpc::UNAUTHENTICATED ? unknown : refused);
      // It holds the channel, whose end must not come on the thread that calls this.
      pending->context.reset();
      --under_way_;
    });
  }
  void wait() const {
    EXPECT_TRUE(eventually([&] { return under_way_ == 0; }));
  }

  std::atomic<int> answered = 0;
  std::atomic<int> refused = 0;
  std::atomic<int> unknown = 0;

 private:
  const int most_;
  std::atomic<int> under_way_ = 0;
};

TEST_F(Siege, SilentConnections) {
  const int size = of_full(1'100);
  endure("silent connections", [&] {
    std::vector<FileDescriptor> held;
    for (int i = 0; i < size; ++i) held.push_back(http2::connect_to(service_.server()));
    expect_new_ones_are_let_in();
  });
}

TEST_F(Siege, HandshakesThatAreNeverFinishedAndGreetingsThatAreCut) {
  const int size = of_full(600);
  endure("half handshakes", [&] {
    std::vector<FileDescriptor> held;
    for (int i = 0; i < size; ++i) {
      held.push_back(http2::connect_to(service_.server()));
      const std::string begun = i % 2 == 0 ? std::string("\x16\x03\x01\x02\x00\x01", 6) : "PRI * HTTP/2.0\r\n";
      EXPECT_EQ(::send(held.back().get(), begun.data(), begun.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(begun.size()));
    }
    expect_new_ones_are_let_in();
  });
}

TEST_F(Siege, BodiesThatNeverEnd) {
  // What a connection may send before it is given more room.
  constexpr int kOfConnection = 4;
  const int size = of_full(600);
  endure("unfinished bodies", [&] {
    std::vector<std::unique_ptr<http2::Connection>> connections;
    // One byte short of what is announced.
    constexpr uint32_t kAnnounced = (512 << 10) - 512;
    const std::string body = std::string("\0\x00\x07\xfe\x00", 5) + std::string(kAnnounced - 1, 'x');
    for (int i = 0; i < size; ++i) {
      if (i % kOfConnection == 0) {
        connections.push_back(std::make_unique<http2::Connection>(service_.server(), identity("eve")));
        connections.back()->greet();
      }
      const uint32_t stream = 2 * (i % kOfConnection) + 1;
      http2::Connection& connection = *connections.back();
      connection.say(
          frame(http2::kHeaders, http2::kEndHeaders, stream, http2::call_headers("/galleon.v1.JobService/CreateJob")));
      for (size_t at = 0; at < body.size(); at += 16'000)
        connection.say(frame(http2::kData, http2::kNone, stream, body.substr(at, 16'000)));
    }
    absl::SleepFor(absl::Seconds(2));
  });
}

TEST_F(Siege, HeadersThatGoOnForEver) {
  const int size = of_full(10);
  endure("headers of a gigabyte", [&] {
    std::vector<std::thread> callers;
    std::atomic<int> cut = 0;
    for (int i = 0; i < size; ++i) {
      callers.emplace_back([&, i] {
        // With no credential at all.
        http2::Connection connection(service_.server());
        connection.greet();
        const std::string begun = http2::call_headers("/galleon.v1.JobService/ListJobs") + std::string(1, '\0') +
                                  http2::length_of(1) + "a" + http2::length_of(uint64_t{1} << 30);
        bool taken = connection.say(frame(http2::kHeaders, http2::kNone, 1, begun));
        // Large pieces, and the smallest: each is looked at with all before it.
        const std::string piece(i % 2 == 0 ? 16'000 : 1, 'y');
        std::string pieces;
        while (pieces.size() < 64'000) pieces += frame(http2::kContinuation, http2::kNone, 1, piece);
        for (size_t sent = 0; taken && sent < 256U << 20; sent += pieces.size()) taken = connection.say(pieces);
        cut += taken ? 0 : 1;
      });
    }
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(cut, size) << "heard to their end";
  });
}

TEST_F(Siege, LargeRequestsAreNoAttack) {
  std::unique_ptr<v1::JobService::Stub> ann = client("ann");
  Flood jobs(90);
  v1::CreateJobRequest large = request("No name");
  large.mutable_job()->set_tokenizer(std::string(480 << 10, 'x'));
  std::atomic<int> invalid = 0;
  std::mutex mutex;
  std::string other;  // one of the answers that are none
  const auto tell = [&](const grpc::Status& status) {
    const std::lock_guard<std::mutex> lock(mutex);
    other = absl::StrCat("code ", status.error_code(), ": ", status.error_message());
  };
  const int size = of_full(5'000);
  for (int i = 0; i < size; ++i) {
    jobs.send<v1::CreateJobRequest, v1::JobRecord>(large, [&](auto* context, auto* sent, auto* response, auto done) {
      ann->async()->CreateJob(context, sent, response, [&invalid, &tell, done](const grpc::Status& status) {
        invalid += status.error_code() == grpc::INVALID_ARGUMENT ? 1 : 0;
        if (status.error_code() != grpc::INVALID_ARGUMENT) tell(status);
        done(status);
      });
    });
  }
  jobs.wait();
  EXPECT_EQ(invalid, size) << other;
}

TEST_F(Siege, AnswersThatNobodyTakes) {
  std::unique_ptr<v1::JobService::Stub> ann = client("ann");
  Flood jobs(64);
  for (int i = 0; i < of_full(20'000); ++i) {
    jobs.send<v1::CreateJobRequest, v1::JobRecord>(request("many"),
                                                   [&](auto... call) { ann->async()->CreateJob(call...); });
  }
  jobs.wait();
  ASSERT_EQ(jobs.answered, of_full(20'000));
  const int size = of_full(2'000);
  endure("answers behind a closed window", [&] {
    std::vector<std::unique_ptr<http2::Connection>> connections;
    constexpr uint16_t kInitialWindow = 4;
    // ListJobsRequest{page_size: 1000}
    const std::string body("\0\0\0\0\3\x08\xe8\x07", 8);
    for (int i = 0; i < size; ++i) {
      if (i % 50 == 0) {
        connections.push_back(std::make_unique<http2::Connection>(service_.server(), identity("eve")));
        connections.back()->greet({{kInitialWindow, 0}});
      }
      const uint32_t stream = 2 * (i % 50) + 1;
      connections.back()->say(
          frame(http2::kHeaders, http2::kEndHeaders, stream, http2::call_headers("/galleon.v1.JobService/ListJobs")) +
          frame(http2::kData, http2::kEndStream, stream, body));
    }
    absl::SleepFor(absl::Seconds(2));
  });
  endure("lists of everything", [&] {
    std::vector<std::unique_ptr<v1::JobService::Stub>> eves;
    for (int i = 0; i < 4; ++i) eves.push_back(client("eve"));
    Flood lists(200);
    v1::ListJobsRequest all;
    all.set_page_size(1'000);
    const int calls = of_full(4'500);
    for (int i = 0; i < calls; ++i) {
      lists.send<v1::ListJobsRequest, v1::ListJobsResponse>(
          all, [&](auto... call) { eves[i % eves.size()]->async()->ListJobs(call...); });
    }
    lists.wait();
    EXPECT_GT(lists.answered, 0);
    EXPECT_EQ(lists.answered + lists.refused, calls);
  });
  endure("watches that nobody reads", [&] {
    std::vector<std::unique_ptr<http2::Connection>> connections;
    // WatchEventsRequest{follow: true}
    const std::string body("\0\0\0\0\2\x18\x01", 7);
    const int watches = of_full(1'000);
    for (int i = 0; i < watches; ++i) {
      if (i % 50 == 0) {
        connections.push_back(std::make_unique<http2::Connection>(service_.server(), identity("eve")));
        connections.back()->greet();
      }
      const uint32_t stream = 2 * (i % 50) + 1;
      connections.back()->say(frame(http2::kHeaders, http2::kEndHeaders, stream,
                                    http2::call_headers("/galleon.v1.JobService/WatchEvents")) +
                              frame(http2::kData, http2::kEndStream, stream, body));
    }
    absl::SleepFor(absl::Seconds(2));
  });
}

TEST_F(Siege, CallsOfStrangersPushNobodyOutOfTheAuditLog) {
  const std::string audit = service_.folder() + "/scheduler/audit.jsonl";
  const auto told = [&] { return absl::StrContains(read_file(audit).value_or(""), "CreateJob"); };
  ASSERT_TRUE(told());
  const int size = of_full(90'000);
  endure("calls of a stranger", [&] {
    std::unique_ptr<v1::JobService::Stub> mallory = client("mallory");
    Flood calls(64);
    for (int i = 0; i < size; ++i) {
      calls.send<v1::CreateJobRequest, v1::JobRecord>(request("none"),
                                                      [&](auto... call) { mallory->async()->CreateJob(call...); });
    }
    calls.wait();
    EXPECT_EQ(calls.unknown, size);
  });
  EXPECT_TRUE(told());
  EXPECT_LT(std::filesystem::file_size(audit), 1U << 20);
  EXPECT_LT(std::filesystem::file_size(service_.folder() + "/scheduler/audit-unknown.jsonl"), 1U << 20);
}

TEST_F(Siege, PlansOfOneCallerShutNobodyOut) {
  const int size = of_full(700);
  endure("plans of one caller", [&] {
    std::unique_ptr<v1::JobService::Stub> eve = client("eve");
    Flood plans(60);
    const auto unlike = [this](int width) {
      v1::CreateJobRequest made = request("plan");
      made.set_validate_only(true);
      made.mutable_job()->mutable_data()->set_sequence_length(32 + width);
      return made;
    };
    std::thread theirs([&] {
      for (int i = 0; i < size; ++i) {
        plans.send<v1::CreateJobRequest, v1::JobRecord>(unlike(i),
                                                        [&](auto... call) { eve->async()->CreateJob(call...); });
      }
    });
    // Ann's come in between.
    EXPECT_TRUE(eventually([&] { return plans.answered > 0; }));
    std::unique_ptr<v1::JobService::Stub> ann = client("ann");
    for (int i = 0; i < 3; ++i) {
      const int before = plans.answered;
      v1::JobRecord record;
      const auto context = call(kPatience);
      const grpc::Status status = ann->CreateJob(context.get(), unlike(100'000 + i), &record);
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_LT(plans.answered - before, 20);
    }
    theirs.join();
    plans.wait();
    EXPECT_GT(plans.answered, 0);
  });
}

}  // namespace
}  // namespace galleon
