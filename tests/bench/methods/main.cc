// What rules cost beside each other, all figures from one run: AdamW and Muon, in a subspace and at full rank, step by
// step in turn on random tokens, with what each keeps.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <ctime>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/cpu/processor.h"
#include "tests/bench/engine/statistics.h"
#include "tests/bench/random_training.h"

namespace galleon {
namespace {

struct Options {
  std::string preset = "llama-60m";
  int64_t vocabulary = 0;  // 0: the preset's
  int64_t rank = 0;        // 0: hidden / 4
  int64_t sequence = 256;
  int64_t micro_batch = 16;
  int64_t rounds = 5;
  int threads = 0;
  std::string basis_type = "fp32";
  std::string clock = "wall";
  bool full_rank = true;
};

double now(const std::string& clock) {
  timespec t{};
  clock_gettime(clock == "cpu" ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

class Contestant : public RandomTraining {
 public:
  Contestant(const std::string& name, const EngineShape& shape, const Options& options, int threads)
      : RandomTraining(shape, threads), name_(name), clock_(options.clock) {
    take_step(1);
  }

  const std::string& name() const { return name_; }
  std::vector<double> seconds;

  void take_step(int64_t number) {
    draw_batch();
    const double start = now(clock_);
    engine_->step(number, {batch_}, 1.0F / static_cast<float>(tokens()), {});
    seconds.push_back(now(clock_) - start);
  }

  // Moments and bases of the matrices of blocks; and of all.
  double state(bool of_blocks) const {
    double bytes = 0;
    for (const Ledger::Entry& entry : engine_->ledger().entries()) {
      const bool kept =
          entry.category == MemoryCategory::kOptimizerStates || entry.category == MemoryCategory::kSubspaces;
      if (kept && (!of_blocks || absl::StrContains(entry.name, "_proj."))) bytes += static_cast<double>(entry.bytes);
    }
    return bytes;
  }

 private:
  std::string name_;
  std::string clock_;
};

EngineShape shape_of(const ModelConfig& config, const Options& options, MomentRule rule, bool galore) {
  EngineShape shape;
  shape.config = config;
  shape.sequence_length = options.sequence;
  shape.micro_batch = options.micro_batch;
  shape.micro_batches = 1;
  shape.optimizer.rule = rule;
  shape.optimizer.momentum = 0.95;
  shape.optimizer.learning_rate = 1e-4;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = 1;
  if (!galore) return shape;
  shape.optimizer.galore = GaloreOptions{};
  shape.optimizer.galore->rank = options.rank > 0 ? options.rank : config.hidden / 4;
  shape.optimizer.galore->basis_type = options.basis_type == "int8"   ? BasisType::kInt8
                                       : options.basis_type == "bf16" ? BasisType::kBf16
                                                                      : BasisType::kFp32;
  // No step that is measured has a refresh, and the first needs no search.
  shape.optimizer.galore->refresh = RefreshMethod::kRandom;
  shape.optimizer.galore->refresh_interval = 100000;
  shape.optimizer.galore->stagger = false;
  return shape;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("What a step takes, and what is kept, under AdamW and under Muon, in a subspace and at full rank.");
  app.add_option("--preset", options.preset, "the model's shape");
  app.add_option("--vocabulary", options.vocabulary, "0: the preset's")->check(CLI::NonNegativeNumber);
  app.add_option("--rank", options.rank, "of the subspaces; 0: a quarter of the hidden width")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--sequence", options.sequence, "tokens of a sequence")->check(CLI::PositiveNumber);
  app.add_option("--micro-batch", options.micro_batch, "sequences a step")->check(CLI::PositiveNumber);
  app.add_option("--steps", options.rounds, "rounds, each a step of every rule")->check(CLI::PositiveNumber);
  app.add_option("--basis-type", options.basis_type, "of the subspaces")
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}));
  app.add_option("--clock", options.clock,
                 "wall, or cpu: time of the processor, of all threads, for a machine with other load")
      ->check(CLI::IsMember({"wall", "cpu"}));
  app.add_flag("!--galore-alone", options.full_rank, "without the two at full rank");
  app.add_option("--threads", options.threads, "0: all cores")->check(CLI::NonNegativeNumber);
  CLI11_PARSE(app, argc, argv);
  absl::StatusOr<ModelConfig> config = model_preset(options.preset);
  if (!config.ok()) {
    std::cerr << config.status().message() << "\n";
    return 2;
  }
  if (options.vocabulary > 0) config->vocabulary = options.vocabulary;
  const int threads = options.threads > 0 ? options.threads : omp_get_num_procs();
  std::vector<std::unique_ptr<Contestant>> all;
  for (const bool galore : {true, false}) {
    if (!galore && !options.full_rank) continue;
    for (const MomentRule rule : {MomentRule::kAdamW, MomentRule::kMuon}) {
      const std::string name =
          absl::StrCat(galore ? "GaLore, " : "full rank, ", rule == MomentRule::kMuon ? "Muon" : "AdamW");
      all.push_back(std::make_unique<Contestant>(name, shape_of(*config, options, rule, galore), options, threads));
    }
  }
  for (const auto& one : all) one->seconds.clear();
  for (int64_t round = 0; round < options.rounds; ++round) {
    // The order turns about.
    for (size_t i = 0; i < all.size(); ++i) all[round % 2 == 0 ? i : all.size() - 1 - i]->take_step(round + 2);
  }
  std::cout << absl::StrFormat("%s, %d tokens a step, rank %d, bases in %s, %d threads, %s clock; %d rounds\n%s\n\n",
                               options.preset, all[0]->tokens(), options.rank > 0 ? options.rank : config->hidden / 4,
                               options.basis_type, threads, options.clock, options.rounds,
                               cpu::processor_facts().line());
  std::cout << absl::StrFormat("%-20s%12s%20s%24s%20s\n", "", "s a step", "of AdamW's step", "state of blocks, MiB",
                               "of AdamW's");
  for (size_t i = 0; i < all.size(); ++i) {
    const Contestant& adamw = *all[i / 2 * 2];
    std::cout << absl::StrFormat("%-20s%12.3f%20.3f%24.1f%20.3f\n", all[i]->name(), median(all[i]->seconds),
                                 median_ratio(all[i]->seconds, adamw.seconds), all[i]->state(true) / (1 << 20),
                                 all[i]->state(true) / adamw.state(true));
  }
  std::cout << absl::StrFormat(
      "\nembedding and head, norms and bases included: GaLore with Muon keeps %.3f of GaLore with AdamW\n",
      all[1]->state(false) / all[0]->state(false));
  return 0;
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  galleon::cpu::start_again_for_libraries(argv);
  return galleon::run(argc, argv);
}
