// What the ledger counts beside what the driver gives out, and a limit that is kept.
#include <cmath>

#include "kernels/cuda/devices.h"
#include "tests/gpu/suite/driver_memory.h"
#include "tests/gpu/suite/parts.h"
#include "tests/gpu/suite/trainee.h"

namespace galleon::gpu {

int memory(Report& report) {
  EngineShape shape;
  shape.config = *model_preset("llama-350m");
  shape.sequence_length = 256;
  shape.micro_batch = 8;
  shape.micro_batches = 1;
  shape.weights.type = DataType::kBFloat16;
  shape.optimizer.schedule.steps = 1;
  shape.optimizer.galore = GaloreOptions{};
  shape.optimizer.galore->rank = 256;
  {
    // Code of kernels and libraries is loaded at their first use: a small run comes first.
    absl::StatusOr<std::unique_ptr<Device>> warm = make_cuda_device(0);
    GALLEON_CHECK(warm.ok()) << warm.status().ToString();
    EngineShape tiny = shape;
    tiny.config = *model_preset("tiny");
    tiny.config.vocabulary = 256;
    tiny.optimizer.galore->rank = 16;
    absl::StatusOr<std::unique_ptr<Trainee>> trainee = Trainee::create(tiny, *std::move(warm));
    GALLEON_CHECK(trainee.ok()) << trainee.status().ToString();
    (*trainee)->step(1);
  }
  absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
  GALLEON_CHECK(device.ok()) << device.status().ToString();
  const double before = driver_used_bytes();
  report.figure("memory.context", before, "bytes");
  absl::StatusOr<std::unique_ptr<Trainee>> trainee = Trainee::create(shape, *std::move(device));
  GALLEON_CHECK(trainee.ok()) << trainee.status().ToString();
  (*trainee)->step(1);
  (*trainee)->step(2);
  const auto counted = static_cast<double>((*trainee)->device().ledger().total());
  const double given = driver_used_bytes() - before;
  report.figure("memory.ledger", counted, "bytes");
  report.figure("memory.driver", given, "bytes");
  const double difference = std::abs(given - counted) / counted;
  report.fact("memory.driver_against_ledger", difference <= 0.03, difference, "of the ledger", "<= 0.03");
  trainee->reset();

  device = make_cuda_device(0);
  GALLEON_CHECK(device.ok()) << device.status().ToString();
  (*device)->ledger().set_limit(static_cast<int64_t>(counted) - 1);
  const absl::Status refused = Trainee::create(shape, *std::move(device)).status();
  report.fact("memory.one_byte_less_is_refused", absl::IsResourceExhausted(refused), refused.ok() ? 0 : 1, "", "");
  return report.exit_code();
}

}  // namespace galleon::gpu
