// Whole steps of large models on random tokens: tokens a second, the part of the best product's rate that the model's
// own FLOPs reach, refreshes, and peaks of memory.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "kernels/cuda/devices.h"
#include "tests/gpu/suite/ceilings.h"
#include "tests/gpu/suite/driver_memory.h"
#include "tests/gpu/suite/parts.h"
#include "tests/gpu/suite/shapes.h"
#include "tests/gpu/suite/trainee.h"
#include "worker/engine/run/prediction.h"

namespace galleon::gpu {

namespace {

double seconds_of_step(Trainee& trainee, int64_t number) {
  const auto begin = std::chrono::steady_clock::now();
  trainee.step(number);
  const cudaError_t done = cudaDeviceSynchronize();
  GALLEON_CHECK(done == cudaSuccess) << cudaGetErrorString(done);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct Figures {
  double plain = 0;              // seconds of a step without a refresh, the median
  double refresh = 0;            // what a step takes longer that refreshes every matrix
  double model_flops = 0;        // a second, in plain steps
  double peak = 0;               // GB by the ledger
  double driver_difference = 0;  // between the driver's count and the ledger's, of the ledger's
};

// What this card reaches in a large product and in a copy. What it reaches in fp32 and fp64 is not measured, so that a
// prediction by these rates counts products in bf16 and memory alone.
CardRates ceilings(Device& device) {
  constexpr double kNoBound = 1e30;
  return {"this card", bf16_flops_per_second(device), kNoBound, kNoBound, copy_bytes_per_second(device),
          kNoBound,    "measured in the same run"};
}

// Without a value: the card is too small.
std::optional<Figures> measure(Report& report, const std::string& name, const EngineShape& shape, int steps,
                               const CardRates& card) {
  absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
  GALLEON_CHECK(device.ok()) << device.status().ToString();
  const double before = driver_used_bytes();
  absl::StatusOr<std::unique_ptr<Trainee>> trainee = Trainee::create(shape, *std::move(device));
  if (absl::IsResourceExhausted(trainee.status())) {
    std::printf("skipped: %s: %s\n", name.c_str(), std::string(trainee.status().message()).c_str());
    return std::nullopt;
  }
  GALLEON_CHECK(trainee.ok()) << trainee.status().ToString();
  report.figure(name + ".first_step", seconds_of_step(**trainee, 1), "s");
  seconds_of_step(**trainee, 2);
  std::vector<double> plain;
  for (int i = 0; i < steps; ++i) plain.push_back(seconds_of_step(**trainee, 3 + i));
  std::nth_element(plain.begin(), plain.begin() + steps / 2, plain.end());
  Figures figures;
  figures.plain = plain[static_cast<size_t>(steps / 2)];
  if (shape.optimizer.galore.has_value()) {
    figures.refresh = seconds_of_step(**trainee, kRefreshInterval + 1) - figures.plain;
    // Between events around the searches for bases: without the dense gradients that such a step forms.
    report.figure(name + ".search_of_all", (*trainee)->report().refresh_seconds, "s");
  }
  const Ledger& ledger = (*trainee)->device().ledger();
  const auto counted = static_cast<double>(ledger.total());
  figures.peak = static_cast<double>(ledger.peak()) / 1e9;
  figures.driver_difference = std::abs(driver_used_bytes() - before - counted) / counted;
  const auto tokens = static_cast<double>((*trainee)->tokens());
  figures.model_flops = shape.config.train_flops_per_token(shape.sequence_length) * tokens / figures.plain;
  report.figure(name + ".tokens_per_second", tokens / figures.plain, "tokens/s");
  report.figure(name + ".peak", figures.peak, "GB");
  if (const absl::StatusOr<StepPrediction> predicted = predict_step(shape, card, 1); predicted.ok()) {
    const double step = predicted->step() - predicted->refresh;
    report.figure(name + ".predicted_step", step, "s at the ceilings");
    report.figure(name + ".step_against_predicted", figures.plain / step, "times");
    report.figure(name + ".predicted_products", predicted->products, "s");
    report.figure(name + ".predicted_attention", predicted->attention, "s");
    report.figure(name + ".predicted_memory_bound", predicted->memory_bound, "s");
    report.figure(name + ".predicted_optimizer", predicted->optimizer, "s");
  }
  return figures;
}

// What is told of figures, if there are any.
template <typename Told>
std::optional<double> of(const std::optional<Figures>& figures, Told told) {
  if (!figures.has_value()) return std::nullopt;
  return told(*figures);
}

void measure_1b(Report& report, const CardRates& card) {
  const double product_rate = card.bf16_flops;
  const auto full = measure(report, "llama-1b.full_rank", suite_shape("llama-1b", 1024, 16, 0), 8, card);
  report.at_least("llama-1b.full_rank.model_flops",
                  of(full, [&](const Figures& f) { return f.model_flops / product_rate; }), "of the best product",
                  0.70);
  const auto galore = measure(report, "llama-1b.galore", suite_shape("llama-1b", 1024, 16, 512), 8, card);
  report.at_most("llama-1b.refresh_of_all", of(galore, [](const Figures& f) { return f.refresh; }), "s", 0.5);
  report.at_least("llama-1b.galore_against_full_rank",
                  of(galore,
                     [&](const Figures& f) -> std::optional<double> {
                       if (!full.has_value()) return std::nullopt;
                       return full->plain / (f.plain + f.refresh / kRefreshInterval);
                     }),
                  "times", 1.15);
}

void measure_7b(Report& report, const CardRates& card) {
  const double product_rate = card.bf16_flops;
  const auto shape = full_rank_7b(static_cast<int64_t>(0.97 * driver_total_bytes()) - (int64_t{2} << 30));
  std::optional<Figures> full;
  if (shape.has_value()) {
    report.figure("llama-7b.full_rank.sequences_a_pass", static_cast<double>(shape->micro_batch), "x 1024 tokens");
    full = measure(report, "llama-7b.full_rank", *shape, 4, card);
  }
  report.at_least("llama-7b.full_rank.model_flops",
                  of(full, [&](const Figures& f) { return f.model_flops / product_rate; }), "of the best product",
                  0.72);

  const auto recipe = measure(report, "llama-7b.recipe", recipe_7b(BasisType::kBf16), 4, card);
  if (recipe.has_value()) {
    // A block is computed twice, so that the products run a third more than this.
    report.figure("llama-7b.recipe.model_flops", recipe->model_flops / product_rate, "of the best product");
  }
  report.at_most("llama-7b.refresh_of_all", of(recipe, [](const Figures& f) { return f.refresh; }), "s", 5.0);
  report.at_most("llama-7b.peak_bf16_bases", of(recipe, [](const Figures& f) { return f.peak; }), "GB", 20.5);
  report.at_most("llama-7b.driver_against_ledger", of(recipe, [](const Figures& f) { return f.driver_difference; }),
                 "of the ledger", 0.03);
  const auto int8 = measure(report, "llama-7b.recipe_int8_bases", recipe_7b(BasisType::kInt8), 2, card);
  report.at_most("llama-7b.peak_int8_bases", of(int8, [](const Figures& f) { return f.peak; }), "GB", 19.5);
}

CardRates measured_rates() {
  absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
  GALLEON_CHECK(device.ok()) << device.status().ToString();
  return ceilings(**device);
}

}  // namespace

int llama_1b(Report& report) {
  measure_1b(report, measured_rates());
  return report.exit_code();
}

int methods(Report& report) {
  const CardRates card = measured_rates();
  std::optional<Figures> first;
  for (const Method& method : methods_1b()) {
    const std::string name = std::string("methods.") + method.name;
    const std::optional<Figures> figures = measure(report, name, method.shape, 4, card);
    if (!first.has_value()) first = figures;
    if (figures.has_value() && first.has_value())
      report.figure(name + ".step", figures->plain / first->plain, "times GaLore's with AdamW");
  }
  return report.exit_code();
}

int llama_7b(Report& report) {
  measure_7b(report, measured_rates());
  return report.exit_code();
}

}  // namespace galleon::gpu
