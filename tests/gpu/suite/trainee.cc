#include "tests/gpu/suite/trainee.h"

namespace galleon::gpu {

absl::StatusOr<std::unique_ptr<Trainee>> Trainee::create(const EngineShape& shape, std::unique_ptr<Device> device) {
  std::unique_ptr<Trainee> trainee(new Trainee(shape, std::move(device)));
  trainee->communicator_ = make_single_communicator(*trainee->device_);
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::create(shape, *trainee->device_, *trainee->communicator_);
  if (!engine.ok()) return engine.status();
  trainee->engine_ = *std::move(engine);
  initialize_weights(trainee->engine_->parameters(), *trainee->device_, 42, shape.config.initializer_range);
  return trainee;
}

std::vector<Batch> Trainee::batches(int64_t number) const {
  std::mt19937_64 random(static_cast<uint64_t>(number));
  const auto vocabulary = static_cast<uint64_t>(shape_.config.vocabulary);
  std::vector<Batch> batches(static_cast<size_t>(shape_.micro_batches));
  for (Batch& batch : batches) {
    batch.sequences = shape_.micro_batch;
    batch.length = shape_.sequence_length;
    batch.ids.resize(static_cast<size_t>(batch.sequences * batch.length));
    batch.targets.resize(batch.ids.size());
    // A text that can be learned: each token follows from the one before, and now and then not.
    int32_t token = 0;
    for (size_t i = 0; i < batch.ids.size(); ++i) {
      batch.ids[i] = token;
      token = random() % 8 == 0 ? static_cast<int32_t>(random() % vocabulary)
                                : static_cast<int32_t>((static_cast<uint64_t>(token) * 5 + 3) % vocabulary);
      batch.targets[i] = token;
    }
  }
  return batches;
}

double Trainee::step(int64_t number) {
  const StepResult result = engine_->step(number, batches(number), 1.0F / static_cast<float>(tokens()));
  report_ = result.report;
  return result.loss / static_cast<double>(tokens());
}

}  // namespace galleon::gpu
