// What travels while the backward and the rule go on: a communicator notes when an exchange begins and when it is
// waited for, and the device counts the work in between.
#include <cstring>
#include <map>
#include <random>

#include "tests/worker/engine/run_support.h"
#include "worker/engine/run/engine.h"

namespace galleon {
namespace {

class NotingCommunicator final : public Communicator {
 public:
  using Communicator::Communicator;
  NotingCommunicator(Device& device, int rank, int ranks) : Communicator(device, rank, ranks), device_(device) {}

  // Of all bytes that are sent, those whose exchange had company of at least that work.
  double share_beside(double flops) const {
    int64_t beside = 0;
    for (const Flight& flight : flights_) beside += flight.flops >= flops ? flight.bytes : 0;
    return static_cast<double>(beside) / static_cast<double>(all_bytes_);
  }
  void forget() {
    flights_.clear();
    all_bytes_ = 0;
  }

 protected:
  absl::Status exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override {
    all_bytes_ += bytes_of(out);
    receive_zeros(in);
    return absl::OkStatus();
  }
  absl::StatusOr<int64_t> begin_exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override {
    all_bytes_ += bytes_of(out);
    receive_zeros(in);
    under_way_[++tickets_] = {bytes_of(out), device_.work().flops};
    return tickets_;
  }
  absl::Status finish_exchanges(int64_t ticket) override {
    while (!under_way_.empty() && under_way_.begin()->first <= ticket) {
      const Flight begun = under_way_.begin()->second;
      flights_.push_back({begun.bytes, device_.work().flops - begun.flops});
      under_way_.erase(under_way_.begin());
    }
    return absl::OkStatus();
  }

 private:
  struct Flight {
    int64_t bytes = 0;
    double flops = 0;  // at its beginning, then of its time
  };
  static void receive_zeros(absl::Span<const Incoming> in) {
    for (const Incoming& message : in) std::memset(message.data, 0, message.bytes);
  }
  static int64_t bytes_of(absl::Span<const Outgoing> out) {
    int64_t bytes = 0;
    for (const Outgoing& message : out) bytes += message.bytes;
    return bytes;
  }

  Device& device_;
  std::map<int64_t, Flight> under_way_;
  std::vector<Flight> flights_;
  int64_t tickets_ = 0;
  int64_t all_bytes_ = 0;
};

struct Way {
  const char* name;
  int zero;
  bool per_layer;
  int64_t micro_batches;
  double least;  // share of all bytes
};

class Overlap : public testing::TestWithParam<Way> {};

constexpr int64_t kHidden = 128;
constexpr int64_t kRank = 32;
constexpr int64_t kSequences = 4;
constexpr int64_t kLength = 64;

EngineShape shape_of(const Way& way) {
  EngineShape shape;
  shape.config = *model_preset("llama-9m");
  shape.config.vocabulary = 512;
  shape.optimizer.galore = GaloreOptions{};
  shape.optimizer.galore->rank = kRank;
  shape.optimizer.zero = way.zero;
  shape.optimizer.per_layer = way.per_layer;
  shape.sequence_length = kLength;
  shape.micro_batch = kSequences;
  shape.micro_batches = way.micro_batches;
  return shape;
}

TEST_P(Overlap, GradientsAndUpdatesTravelWhileTheBackwardGoesOn) {
  const EngineShape shape = shape_of(GetParam());
  const std::unique_ptr<Device> device = make_cpu_device(1);
  NotingCommunicator communicator(*device, 0, 2);
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::create(shape, *device, communicator);
  ASSERT_TRUE(engine.ok()) << engine.status();
  initialize_weights((*engine)->parameters(), *device, 7, 0.02);
  Batch batch{.sequences = kSequences, .length = kLength};
  std::mt19937_64 random(3);
  for (int64_t i = 0; i < kSequences * kLength; ++i) {
    batch.ids.push_back(static_cast<int32_t>(random() % shape.config.vocabulary));
    batch.targets.push_back(static_cast<int32_t>(random() % shape.config.vocabulary));
  }
  const std::vector<Batch> passes(static_cast<size_t>(shape.micro_batches), batch);
  for (const int64_t step : {1, 2}) {
    communicator.forget();
    ASSERT_EQ((*engine)->step(step, passes, 1e-3F).report.not_finite, "");
  }
  // As much as the smallest product of the backward, a gradient in the subspace.
  EXPECT_GT(communicator.share_beside(2.0 * kSequences * kLength * kHidden * kRank), GetParam().least);
}

// Half of the bytes are updates where weights are whole; a per-step update has no backward beside it any more. With
// ZeRO 3 the weights alone, gathered a block ahead, come to 0.71.
INSTANTIATE_TEST_SUITE_P(Ways, Overlap,
                         testing::Values(Way{"Zero1PerStep", 1, false, 1, 0.35}, Way{"Zero1PerLayer", 1, true, 1, 0.5},
                                         Way{"Zero2PerStep", 2, false, 2, 0.5}, Way{"Zero2PerLayer", 2, true, 1, 0.5},
                                         Way{"Zero3PerStep", 3, false, 1, 0.78},
                                         Way{"Zero3PerLayer", 3, true, 1, 0.78}),
                         [](const testing::TestParamInfo<Way>& way) { return way.param.name; });

}  // namespace
}  // namespace galleon
