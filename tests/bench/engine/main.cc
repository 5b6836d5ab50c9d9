// The speed of training on this machine, all figures from one run: full-rank AdamW beside GaLore-AdamW on random
// tokens, step by step in turn, with the rate of the better library's products measured between them.
#include <dnnl.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/processor.h"
#include "kernels/ops/random.h"
#include "tests/bench/engine/statistics.h"
#include "tests/bench/random_training.h"

namespace galleon {
namespace {

struct Options {
  std::string preset = "llama-60m";
  int64_t vocabulary = 0;  // 0: the preset's
  int64_t rank = 0;        // 0: hidden / 4
  int64_t interval = 200;
  int64_t sequence = 256;
  std::vector<int64_t> micro_batches{16, 4};
  int64_t rounds = 5;
  int threads = 0;
  std::string clock = "wall";
  std::string precision = "fp32";
  bool recompute = false;
  int64_t kept_inputs = 0;  // 0: all
  bool per_layer = false;
  std::string json;
};

// Time as it passes, or the processor's time that this process used, over its threads: on a machine with other load the
// first measures the load too, the second misses what threads wait for one another.
class Stopwatch {
 public:
  Stopwatch(const std::string& clock, int threads)
      : clock_(clock == "cpu" ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC),
        share_(clock == "cpu" ? 1.0 / threads : 1.0) {}
  double now() const {
    timespec t{};
    clock_gettime(clock_, &t);
    return share_ * (static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec));
  }

 private:
  clockid_t clock_;
  double share_;
};

// The best rate of OpenBLAS and oneDNN over large squares and the products of the model's own layers, called as they
// are.
class BlasRate {
 public:
  BlasRate(const ModelConfig& config, int64_t tokens, const Stopwatch& watch, Device& device)
      : arena_(device), watch_(watch) {
    const int64_t widest = std::max({config.query_width(), config.intermediate, config.hidden});
    const int64_t head = std::min<int64_t>(tokens, 512);
    for (const int64_t n : {1024, 2048}) {
      if (n <= 2 * widest) shapes_.push_back({n, n, n});
    }
    shapes_.push_back({tokens, config.query_width(), config.hidden});
    shapes_.push_back({tokens, config.intermediate, config.hidden});
    shapes_.push_back({tokens, config.hidden, config.intermediate});
    shapes_.push_back({head, config.vocabulary, config.hidden});
    int64_t a = 0;
    int64_t b = 0;
    int64_t c = 0;
    for (const Shape& s : shapes_) {
      a = std::max(a, s.m * s.k);
      b = std::max(b, s.n * s.k);
      c = std::max(c, s.m * s.n);
    }
    a_ = arena_.tensor("a", MemoryCategory::kWorkspace, a, 1);
    b_ = arena_.tensor("b", MemoryCategory::kWorkspace, b, 1);
    c_ = arena_.tensor("c", MemoryCategory::kWorkspace, c, 1);
    GALLEON_CHECK(arena_.status().ok()) << arena_.status().ToString();
    fill_normal(device, a_, 1, 1, 0, 0.0F, 1.0F);
    fill_normal(device, b_, 1, 2, 0, 0.0F, 1.0F);
  }

  // FLOP/s: of each shape the best of two, over all shapes the best.
  double measure(int threads) {
    const cpu::BlasThreads set(threads);
    double best = 0;
    for (const Shape& s : shapes_) {
      const int repeats = static_cast<int>(std::max(1.0, 2e9 / s.flops()));
      for (const bool onednn : {false, true, false, true}) {
        const double start = watch_.now();
        for (int i = 0; i < repeats; ++i) multiply(s, onednn);
        best = std::max(best, s.flops() * repeats / (watch_.now() - start));
      }
    }
    return best;
  }

 private:
  struct Shape {
    int64_t m, n, k;
    double flops() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
  };
  void multiply(const Shape& s, bool onednn) const {
    if (onednn) {
      dnnl_sgemm('N', 'T', s.m, s.n, s.k, 1.0F, a_.f32(), s.k, b_.f32(), s.k, 0.0F, c_.f32(), s.n);
      return;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(s.m), static_cast<int>(s.n),
                static_cast<int>(s.k), 1.0F, a_.f32(), static_cast<int>(s.k), b_.f32(), static_cast<int>(s.k), 0.0F,
                c_.f32(), static_cast<int>(s.n));
  }

  Arena arena_;
  Stopwatch watch_;
  std::vector<Shape> shapes_;
  Tensor a_, b_, c_;
};

struct StepTime {
  double seconds = 0;
  double optimizer_seconds = 0;  // of it: norm, moment rule, apply
  double flops = 0;              // as the device counted them
};

// One engine on random tokens, and the numbers of the steps that it is asked for.
class Contestant : public RandomTraining {
 public:
  Contestant(const EngineShape& shape, int threads, const Stopwatch& watch)
      : RandomTraining(shape, threads), watch_(watch) {}

  // Steps of an interval after the first step that refresh a matrix.
  std::vector<int64_t> refreshes() const { return engine_->optimizer().refreshes(2); }

  StepTime step(int64_t number) {
    draw_batch();
    device_->work() = WorkCounters{};
    const double start = watch_.now();
    double backward_done = start;
    StepHooks hooks;
    hooks.before_update = [&](double /*loss*/) {
      backward_done = watch_.now();
      return true;
    };
    const double loss = engine_->step(number, {batch_}, 1.0F / static_cast<float>(tokens()), hooks).loss;
    const double end = watch_.now();
    StepTime time;
    time.seconds = end - start;
    time.optimizer_seconds = end - backward_done;
    time.flops = device_->work().flops;
    GALLEON_CHECK(loss > 0 && loss < 1e9) << "the loss of step " << number << " is " << loss;
    return time;
  }

 private:
  Stopwatch watch_;
};

EngineShape engine_shape(const ModelConfig& config, const Options& options, int64_t micro_batch, bool galore) {
  EngineShape shape;
  shape.config = config;
  shape.sequence_length = options.sequence;
  shape.micro_batch = micro_batch;
  shape.micro_batches = 1;
  if (options.precision == "bf16") shape.weights.type = DataType::kBFloat16;
  shape.recompute = options.recompute;
  shape.kept_inputs = options.kept_inputs;
  shape.optimizer.per_layer = options.per_layer;
  shape.optimizer.learning_rate = 1e-4;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = 1;
  if (galore) {
    shape.optimizer.galore = GaloreOptions{};
    shape.optimizer.galore->rank = options.rank > 0 ? options.rank : config.hidden / 4;
    shape.optimizer.galore->refresh_interval = options.interval;
  }
  return shape;
}

// Step numbers of one interval after the first step, by whether they refresh a matrix.
struct Interval {
  Interval(const Contestant& galore, int64_t length) : with(galore.refreshes()) {
    for (int64_t step = 2; step <= length + 1; ++step) {
      if (!std::binary_search(with.begin(), with.end(), step)) without.push_back(step);
    }
  }
  std::vector<int64_t> with, without;
};

nlohmann::json measure(const ModelConfig& config, const Options& options, int64_t micro_batch, int threads) {
  const Stopwatch watch(options.clock, threads);
  Contestant adamw(engine_shape(config, options, micro_batch, false), threads, watch);
  Contestant galore(engine_shape(config, options, micro_batch, true), threads, watch);
  const std::unique_ptr<Device> probe = make_cpu_device(threads);
  BlasRate blas(config, galore.tokens(), watch, *probe);
  const Interval interval(galore, options.interval);
  GALLEON_CHECK(!interval.with.empty() && !interval.without.empty())
      << "an interval of " << options.interval << " has no step without a refresh";

  adamw.step(1);
  const double first_seconds = galore.step(1).seconds;
  std::vector<double> rate, adamw_seconds, galore_seconds, refresh_seconds, adamw_optimizer, galore_optimizer;
  std::vector<double> adamw_flops, galore_flops, refresh_flops;
  for (int64_t round = 0; round < options.rounds; ++round) {
    // Refreshing steps are taken evenly from the interval, so that every kind of matrix is seen; the order within a
    // round turns about.
    const int64_t due =
        interval
            .with[(round * static_cast<int64_t>(interval.with.size()) / options.rounds + round) % interval.with.size()];
    const int64_t quiet = interval.without[round % interval.without.size()];
    rate.push_back(blas.measure(threads));
    StepTime a;
    StepTime g;
    StepTime r;
    if (round % 2 == 0) {
      a = adamw.step(round + 2);
      g = galore.step(quiet);
      r = galore.step(due);
    } else {
      r = galore.step(due);
      g = galore.step(quiet);
      a = adamw.step(round + 2);
    }
    adamw_seconds.push_back(a.seconds);
    galore_seconds.push_back(g.seconds);
    refresh_seconds.push_back(r.seconds);
    adamw_optimizer.push_back(a.optimizer_seconds);
    galore_optimizer.push_back(g.optimizer_seconds);
    adamw_flops.push_back(a.flops);
    galore_flops.push_back(g.flops);
    refresh_flops.push_back(r.flops);
  }

  const auto tokens = static_cast<double>(galore.tokens());
  const double model_flops = config.train_flops_per_token(options.sequence) * tokens;
  const auto due_steps = static_cast<int64_t>(interval.with.size());
  // Everything is a ratio to the AdamW step of the same round; seconds follow from the median AdamW step.
  const double adamw_step = median(adamw_seconds);
  const double plain = median_ratio(galore_seconds, adamw_seconds);
  const double refreshing = median_ratio(refresh_seconds, adamw_seconds);
  const double mean = interval_mean(plain, refreshing, due_steps, options.interval);
  std::vector<double> adamw_of_rate;
  for (size_t i = 0; i < rate.size(); ++i) adamw_of_rate.push_back(model_flops / adamw_seconds[i] / rate[i]);
  const double galore_executed =
      interval_mean(median(galore_flops), median(refresh_flops), due_steps, options.interval);

  nlohmann::json result;
  result["tokens_per_step"] = galore.tokens();
  result["micro_batch"] = micro_batch;
  result["ratios"] = {
      {"galore_over_adamw_tokens_per_second", 1.0 / mean},
      {"galore_over_adamw_tokens_per_second_without_refreshes", 1.0 / plain},
      {"adamw_of_libraries", median(adamw_of_rate)},
      {"galore_executed_of_libraries", median(adamw_of_rate) * galore_executed / model_flops / mean},
      {"galore_model_of_libraries", median(adamw_of_rate) / mean},
      {"adamw_optimizer_of_step", median_ratio(adamw_optimizer, adamw_seconds)},
      {"galore_optimizer_of_step", median_ratio(galore_optimizer, galore_seconds)},
      {"refreshing_step_over_plain", median_ratio(refresh_seconds, galore_seconds)},
      {"galore_executed_over_adamw_flops", galore_executed / median(adamw_flops)},
  };
  result["library_flops"] = median(rate);
  result["adamw"] = {{"seconds_per_step", adamw_step},
                     {"tokens_per_second", tokens / adamw_step},
                     {"model_flops", model_flops / adamw_step}};
  result["galore"] = {{"seconds_per_step", adamw_step * mean},
                      {"tokens_per_second", tokens / (adamw_step * mean)},
                      {"tokens_per_second_without_refreshes", tokens / (adamw_step * plain)},
                      {"executed_flops", galore_executed / (adamw_step * mean)},
                      {"first_step_seconds", first_seconds},
                      {"refreshing_steps_of_interval", due_steps}};
  result["rounds"] = {{"library_flops", rate},
                      {"adamw_seconds", adamw_seconds},
                      {"galore_seconds", galore_seconds},
                      {"refresh_seconds", refresh_seconds}};
  return result;
}

void print(const nlohmann::json& run) {
  std::cout << absl::StrFormat(
      "%s in %s, sequence length %d, rank %d, interval %d, %d threads, %s clock; %d rounds\n\n",
      run["preset"].get<std::string>(), run["precision"].get<std::string>(), run["sequence_length"].get<int64_t>(),
      run["rank"].get<int64_t>(), run["interval"].get<int64_t>(), run["threads"].get<int64_t>(),
      run["clock"].get<std::string>(), run["rounds"].get<int64_t>());
  std::cout << absl::StrFormat("%-58s", "tokens a step");
  for (const nlohmann::json& r : run["results"])
    std::cout << absl::StrFormat("%12d", r["tokens_per_step"].get<int64_t>());
  std::cout << "\n";
  auto row = [&](const char* name, auto value) {
    std::cout << absl::StrFormat("%-58s", name);
    for (const nlohmann::json& r : run["results"]) std::cout << absl::StrFormat("%12s", value(r));
    std::cout << "\n";
  };
  auto percent = [&](const char* name, const char* key) {
    row(name,
        [key](const nlohmann::json& r) { return absl::StrFormat("%.1f %%", 100.0 * r["ratios"][key].get<double>()); });
  };
  auto times = [&](const char* name, const char* key) {
    row(name, [key](const nlohmann::json& r) { return absl::StrFormat("%.3f", r["ratios"][key].get<double>()); });
  };
  times("GaLore : AdamW, tokens/s, refreshes included", "galore_over_adamw_tokens_per_second");
  times("GaLore : AdamW, tokens/s, without refreshes", "galore_over_adamw_tokens_per_second_without_refreshes");
  times("GaLore : AdamW, executed FLOPs of a step", "galore_executed_over_adamw_flops");
  percent("AdamW, model FLOP/s of the better library's rate", "adamw_of_libraries");
  percent("GaLore, executed FLOP/s of the better library's rate", "galore_executed_of_libraries");
  percent("AdamW, optimizer's part of a step", "adamw_optimizer_of_step");
  percent("GaLore, optimizer's part of a step without refresh", "galore_optimizer_of_step");
  times("GaLore, step with a refresh : step without", "refreshing_step_over_plain");
  row("the better library's fp32 product, GFLOP/s",
      [](const nlohmann::json& r) { return absl::StrFormat("%.0f", r["library_flops"].get<double>() * 1e-9); });
  row("AdamW, tokens/s",
      [](const nlohmann::json& r) { return absl::StrFormat("%.0f", r["adamw"]["tokens_per_second"].get<double>()); });
  row("GaLore, tokens/s, refreshes included",
      [](const nlohmann::json& r) { return absl::StrFormat("%.0f", r["galore"]["tokens_per_second"].get<double>()); });
  row("GaLore, first step (all bases), s",
      [](const nlohmann::json& r) { return absl::StrFormat("%.2f", r["galore"]["first_step_seconds"].get<double>()); });
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Speed of training: AdamW at full rank beside GaLore, and the rate of the better library of products, in one "
      "run.");
  app.add_option("--preset", options.preset, "the model's shape");
  app.add_option("--vocabulary", options.vocabulary, "0: the preset's")->check(CLI::NonNegativeNumber);
  app.add_option("--rank", options.rank, "of the subspaces; 0: a quarter of the hidden width")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--interval", options.interval, "steps between two refreshes of a matrix")->check(CLI::PositiveNumber);
  app.add_option("--sequence", options.sequence, "tokens of a sequence")->check(CLI::PositiveNumber);
  app.add_option("--micro-batch", options.micro_batches, "sequences a step; several are measured one after the other")
      ->check(CLI::PositiveNumber);
  app.add_option("--steps", options.rounds, "rounds, each one AdamW step, one GaLore step and one with a refresh")
      ->check(CLI::PositiveNumber);
  app.add_option("--precision", options.precision, "of weights and activations")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  auto* recompute = app.add_flag("--recompute", options.recompute, "training.recompute: block");
  app.add_option("--kept-inputs", options.kept_inputs, "training.kept_inputs")
      ->needs(recompute)
      ->check(CLI::PositiveNumber);
  app.add_flag("--per-layer", options.per_layer, "optimizer.update: per_layer");
  app.add_option("--threads", options.threads, "0: all cores")->check(CLI::NonNegativeNumber);
  app.add_option("--clock", options.clock,
                 "wall, or cpu: time of the processor over threads, for a machine with other load")
      ->check(CLI::IsMember({"wall", "cpu"}));
  app.add_option("--json", options.json, "also write the figures to this file");
  CLI11_PARSE(app, argc, argv);

  absl::StatusOr<ModelConfig> config = model_preset(options.preset);
  if (!config.ok()) {
    std::cerr << config.status().message() << "\n";
    return 2;
  }
  if (options.vocabulary > 0) config->vocabulary = options.vocabulary;
  const int threads = options.threads > 0 ? options.threads : omp_get_num_procs();
  nlohmann::json out = {{"preset", options.preset},
                        {"vocabulary", config->vocabulary},
                        {"rank", options.rank > 0 ? options.rank : config->hidden / 4},
                        {"interval", options.interval},
                        {"sequence_length", options.sequence},
                        {"threads", threads},
                        {"clock", options.clock},
                        {"precision", options.precision},
                        {"rounds", options.rounds},
                        {"processor", cpu::processor_facts().line()},
                        {"results", nlohmann::json::array()}};
  for (const int64_t micro_batch : options.micro_batches)
    out["results"].push_back(measure(*config, options, micro_batch, threads));
  print(out);
  if (!options.json.empty()) {
    std::ofstream file(options.json);
    file << out.dump(2) << "\n";
    if (!file.flush()) {
      std::cerr << "could not write " << options.json << "\n";
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  galleon::cpu::start_again_for_libraries(argv);
  return galleon::run(argc, argv);
}
