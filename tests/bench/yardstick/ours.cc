// Our side of the yardstick: a process that holds one training engine and does the steps that it is asked for, so that
// another process can do its own in between. Commands on the standard input, one a line: "step" (without a refresh),
// "refresh" (every basis), "end". Each is answered by a line of JSON.
#include <omp.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/cpu/processor.h"
#include "kernels/math/multiples.h"
#include "tests/bench/random_training.h"

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

class Side : public RandomTraining {
 public:
  using RandomTraining::RandomTraining;

  nlohmann::json step(int64_t number) {
    draw_batch();
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
    number = refresh ? round_up(number, kInterval) + 1 : number + 1;
    std::cout << side.step(number) << std::endl;
  }
  std::cout << nlohmann::json{{"peak_bytes", peak_resident()}} << std::endl;
  return 0;
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  galleon::cpu::start_again_for_libraries(argv);
  return galleon::run(argc, argv);
}
