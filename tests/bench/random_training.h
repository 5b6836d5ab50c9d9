// What benchmarks of whole steps share: an engine on random tokens, and a process whose idle threads do not spin.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <random>

#include "worker/engine/run/engine.h"

namespace galleon {

// One rank's engine on the CPU with initial weights, and a batch of it.
class RandomTraining {
 public:
  RandomTraining(const EngineShape& shape, int threads) : shape_(shape), device_(make_cpu_device(threads)) {
    communicator_ = make_single_communicator(*device_);
    absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::create(shape, *device_, *communicator_);
    GALLEON_CHECK(engine.ok()) << engine.status().ToString();
    engine_ = *std::move(engine);
    initialize_weights(engine_->parameters(), *device_, 42, shape.config.initializer_range);
    batch_.sequences = shape.micro_batch;
    batch_.length = shape.sequence_length;
    batch_.ids.resize(tokens());
    batch_.targets.resize(tokens());
  }

  int64_t tokens() const { return shape_.micro_batch * shape_.sequence_length; }

 protected:
  void draw_batch() {
    const auto vocabulary = static_cast<uint64_t>(shape_.config.vocabulary);
    for (size_t i = 0; i < batch_.ids.size(); ++i) {
      batch_.ids[i] = static_cast<int32_t>(random_() % vocabulary);
      batch_.targets[i] = static_cast<int32_t>(random_() % vocabulary);
    }
  }

  EngineShape shape_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<Engine> engine_;
  Batch batch_;

 private:
  std::mt19937_64 random_{7};
};

}  // namespace galleon
