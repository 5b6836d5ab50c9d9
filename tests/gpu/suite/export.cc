#include "tests/gpu/suite/export.h"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "kernels/math/bfloat16.h"
#include "tests/gpu/suite/trainee.h"

namespace galleon::gpu {

namespace {

// Updates are then up to 100 and more, and the weights that they come to, of 0.02, less than a rounding of them.
constexpr double kRate = 1e6;

bool is_compared(const ModelConfig& config, const std::string& name) {
  if (!absl::StrContains(name, ".layers.")) return true;
  for (const int64_t layer : {int64_t{0}, config.layers / 2, config.layers - 1}) {
    if (absl::StrContains(name, absl::StrCat(".layers.", layer, "."))) return true;
  }
  return false;
}

template <typename T>
void append(std::ofstream& file, const std::vector<T>& numbers) {
  file.write(reinterpret_cast<const char*>(numbers.data()), static_cast<std::streamsize>(numbers.size() * sizeof(T)));
}

std::vector<BFloat16> rounded(const std::vector<float>& numbers) {
  std::vector<BFloat16> narrow;
  narrow.reserve(numbers.size());
  for (const float number : numbers) narrow.push_back(math::to_bfloat16(number));
  return narrow;
}

}  // namespace

EngineShape export_shape(const ModelConfig& config, int64_t sequence, int64_t sequences) {
  EngineShape shape;
  shape.config = config;
  shape.sequence_length = sequence;
  shape.micro_batch = sequences;
  shape.micro_batches = 1;
  shape.weights.type = DataType::kBFloat16;
  shape.optimizer.rule = MomentRule::kSgd;
  shape.optimizer.momentum = 0;
  shape.optimizer.learning_rate = kRate;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = 1;
  return shape;
}

absl::Status export_step(const EngineShape& shape, std::unique_ptr<Device> device, const std::string& folder) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Trainee> trainee, Trainee::create(shape, std::move(device)));
  nlohmann::json index;
  std::ofstream weights(folder + "/weights.bin", std::ios::binary);
  std::ofstream gradients(folder + "/gradients.bin", std::ios::binary);
  std::ofstream tokens(folder + "/tokens.bin", std::ios::binary);
  std::map<std::string, std::vector<float>> before;
  for (const Parameter& p : trainee->parameters()) {
    std::vector<float> held = get_weight(p, trainee->device());
    index["weights"].push_back({{"name", p.name}, {"rows", p.out}, {"columns", p.vector ? 0 : p.in}});
    append(weights, rounded(held));
    if (is_compared(shape.config, p.name)) before[p.name] = std::move(held);
  }
  const Batch batch = trainee->batches(1)[0];
  append(tokens, batch.ids);
  append(tokens, batch.targets);
  const double loss = trainee->step(1);
  for (const Parameter& p : trainee->parameters()) {
    const auto held = before.find(p.name);
    if (held == before.end()) continue;
    std::vector<float> gradient = get_weight(p, trainee->device());
    for (size_t i = 0; i < gradient.size(); ++i)
      gradient[i] =
          static_cast<float>((static_cast<double>(held->second[i]) - static_cast<double>(gradient[i])) / kRate);
    index["gradients"].push_back(p.name);
    append(gradients, gradient);
  }
  const ModelConfig& c = shape.config;
  index["loss"] = loss;
  index["sequences"] = shape.micro_batch;
  index["sequence"] = shape.sequence_length;
  index["shape"] = {c.hidden, c.intermediate, c.layers, c.heads};
  index["vocabulary"] = c.vocabulary;
  std::ofstream(folder + "/index.json") << index.dump();
  for (std::ofstream* file : {&weights, &gradients, &tokens}) {
    if (!file->flush()) return absl::ResourceExhaustedError(absl::StrCat(folder, " takes no more"));
  }
  return absl::OkStatus();
}

}  // namespace galleon::gpu
