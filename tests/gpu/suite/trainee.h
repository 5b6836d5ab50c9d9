// One training engine on random tokens, on any device, and the time of its steps.
#pragma once

#include <memory>
#include <random>
#include <vector>

#include "worker/engine/run/engine.h"

namespace galleon::gpu {

class Trainee {
 public:
  // The device is this object's. RESOURCE_EXHAUSTED: its limit or memory.
  static absl::StatusOr<std::unique_ptr<Trainee>> create(const EngineShape& shape, std::unique_ptr<Device> device);

  Device& device() { return *device_; }
  int64_t tokens() const { return shape_.micro_batch * shape_.micro_batches * shape_.sequence_length; }
  // What step `number` trains on.
  std::vector<Batch> batches(int64_t number) const;
  std::vector<Parameter>& parameters() { return engine_->parameters(); }
  // The mean loss before the update of step `number`; tokens depend on the step alone.
  double step(int64_t number);
  const StepReport& report() const { return report_; }

 private:
  Trainee(const EngineShape& shape, std::unique_ptr<Device> device) : shape_(shape), device_(std::move(device)) {}

  EngineShape shape_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<Engine> engine_;
  StepReport report_;
};

}  // namespace galleon::gpu
