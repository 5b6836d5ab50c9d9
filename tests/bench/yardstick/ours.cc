// Our side of the yardstick: a process that holds one training engine and does the steps that it is asked for, so that
// another process can do its own in between. Commands on the standard input, one a line: "step" (without a refresh),
// "refresh" (every basis), "end". Each is answered by a line of JSON.
#include <omp.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "worker/engine/run/engine.h"

namespace galleon {
namespace {

constexpr int64_t kInterval = 1000;  // more than any run has steps between two refreshes

struct Options {
  std::string preset = "llama-60m";
  std::string precision = "fp32";
  int64_t rank = 128;
  int64_t sequence = 256;
  int64_t batch = 16;
  int threads = 0;
};

// Time of the processor that this process used, in seconds.
double processor_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// The most memory that this process ever had resident, in bytes.
int64_t peak_resident() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    int64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

class Side {
 public:
  explicit Side(const EngineShape& shape, int threads) : shape_(shape), device_(make_cpu_device(threads)) {
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

  nlohmann::json step(int64_t number) {
    for (size_t i = 0; i < batch_.ids.size(); ++i) {
      batch_.ids[i] = static_cast<int32_t>(random_() % static_cast<uint64_t>(shape_.config.vocabulary));
      batch_.targets[i] = static_cast<int32_t>(random_() % static_cast<uint64_t>(shape_.config.vocabulary));
    }
    device_->work() = WorkCounters{};
    const double processor_start = processor_seconds();
    const auto start = std::chrono::steady_clock::now();
    auto backward_done = start;
    StepHooks hooks;
    hooks.before_update = [&](double /*loss*/) {
      backward_done = std::chrono::steady_clock::now();
      return true;
    };
    const StepResult result = engine_->step(number, {batch_}, 1.0F / static_cast<float>(tokens()), hooks);
    const auto end = std::chrono::steady_clock::now();
    return {{"seconds", std::chrono::duration<double>(end - start).count()},
            {"processor_seconds", processor_seconds() - processor_start},
            {"optimizer_seconds", std::chrono::duration<double>(end - backward_done).count()},
            {"refreshed", result.report.refreshed},
            {"refresh_seconds", result.report.refresh_seconds},
            {"loss", result.loss / static_cast<double>(tokens())},
            {"flops", device_->work().flops}};
  }

 private:
  EngineShape shape_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<Engine> engine_;
  Batch batch_;
  std::mt19937_64 random_{7};
};

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Our side of the yardstick; tests/bench/yardstick/yardstick.py starts it.");
  app.add_option("--preset", options.preset, "the model's shape");
  app.add_option("--precision", options.precision, "of weights and activations")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--rank", options.rank, "of the subspaces")->check(CLI::PositiveNumber);
  app.add_option("--sequence", options.sequence, "tokens of a sequence")->check(CLI::PositiveNumber);
  app.add_option("--batch", options.batch, "sequences a step, in one pass")->check(CLI::PositiveNumber);
  app.add_option("--threads", options.threads, "0: all cores")->check(CLI::NonNegativeNumber);
  CLI11_PARSE(app, argc, argv);

  absl::StatusOr<ModelConfig> config = model_preset(options.preset);
  if (!config.ok()) {
    std::cerr << config.status().message() << "\n";
    return 2;
  }
  EngineShape shape;
  shape.config = *config;
  shape.sequence_length = options.sequence;
  shape.micro_batch = options.batch;
  shape.micro_batches = 1;
  if (options.precision == "bf16") shape.weights.type = DataType::kBFloat16;
  shape.optimizer.learning_rate = 1e-4;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = 1;
  shape.optimizer.galore = GaloreOptions{};
  shape.optimizer.galore->rank = options.rank;
  shape.optimizer.galore->refresh_interval = kInterval;
  shape.optimizer.galore->stagger = false;
  Side side(shape, options.threads > 0 ? options.threads : omp_get_num_procs());

  const nlohmann::json first = side.step(1);
  std::cout << nlohmann::json{{"ready", true},
                              {"parameters", config->parameters()},
                              {"tokens", side.tokens()},
                              {"model_flops_per_token", config->train_flops_per_token(options.sequence)},
                              {"first_step_seconds", first["seconds"]}}
            << std::endl;
  int64_t number = 1;
  std::string command;
  while (std::getline(std::cin, command)) {
    if (command == "end") break;
    const bool refresh = command == "refresh";
    // Every kInterval steps all bases are refreshed.
    number = refresh ? (number + kInterval - 1) / kInterval * kInterval + 1 : number + 1;
    std::cout << side.step(number) << std::endl;
  }
  std::cout << nlohmann::json{{"peak_bytes", peak_resident()}} << std::endl;
  return 0;
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  // As galleon-trainer starts itself: idle threads do not spin.
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) {
    ::setenv("OMP_WAIT_POLICY", "PASSIVE", 1);
    ::execv("/proc/self/exe", argv);
  }
  return galleon::run(argc, argv);
}
