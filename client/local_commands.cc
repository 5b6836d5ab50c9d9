// Commands that run galleon-trainer on this machine.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/commands.h"
#include "client/wire_bytes.h"
#include "common/base/files.h"
#include "common/base/printable.h"
#include "common/base/process.h"
#include "galleon/v1/plan.pb.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {

namespace {

std::string human(uint64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

// Bytes that each rank sends, by operation, refreshes included.
std::string wire_table(const v1::MemoryPlan& plan) {
  std::vector<std::string> header{"sent in a step"};
  const int shown = plan.ranks_size();
  for (int rank = 0; rank < shown; ++rank) header.push_back(absl::StrCat("rank ", rank));
  std::vector<std::vector<std::string>> rows;
  auto row = [&](const char* name, auto bytes_of) {
    std::vector<std::string> cells{name};
    for (int rank = 0; rank < shown; ++rank) cells.push_back(human(bytes_of(plan.ranks(rank))));
    rows.push_back(std::move(cells));
  };
  row("reduce_scatter", [](const v1::RankPlan& r) { return r.wire_mean().reduce_scatter(); });
  row("all_gather", [](const v1::RankPlan& r) { return r.wire_mean().all_gather(); });
  row("all_reduce", [](const v1::RankPlan& r) { return r.wire_mean().all_reduce(); });
  row("reduce", [](const v1::RankPlan& r) { return r.wire_mean().reduce(); });
  row("broadcast", [](const v1::RankPlan& r) { return r.wire_mean().broadcast(); });
  row("mean, refreshes included", [](const v1::RankPlan& r) { return sent_bytes(r.wire_mean()); });
  row("without a refresh", [](const v1::RankPlan& r) { return sent_bytes(r.wire_step()); });
  return table(header, rows);
}

// Largest rank of this job beside other ways to do it.
std::string ways_table(const v1::MemoryPlan& plan) {
  std::vector<std::vector<std::string>> rows;
  auto row = [&](const std::string& name, const v1::MemoryByCategory& m, uint64_t peak, uint64_t sent) {
    rows.push_back({name, human(m.weights()), human(m.gradients()), human(m.optimizer_states() + m.subspaces()),
                    human(peak), human(sent)});
  };
  const v1::RankPlan& own =
      *std::max_element(plan.ranks().begin(), plan.ranks().end(),
                        [](const auto& a, const auto& b) { return a.peak_bytes() < b.peak_bytes(); });
  row("this job", own.memory(), own.peak_bytes(), sent_bytes(plan.wire_step()));
  for (const v1::OtherWay& way : plan.other_ways())
    row(way.name(), way.memory(), way.peak_bytes(), sent_bytes(way.wire_step()));
  return table({"a rank, by", "weights", "gradients", "states", "total", "sent in a step"}, rows);
}

// What it needs and what there is; where that is too little, what would help.
std::string fit_lines(const v1::MemoryPlan& plan) {
  std::string text = absl::StrCat("required         ", human(plan.required_bytes()), " by the largest rank\n");
  if (plan.available_bytes() == 0) return text;
  const bool fits = plan.required_bytes() <= plan.available_bytes();
  absl::StrAppend(&text, "available        ", human(plan.available_bytes()), " (resources.memory_per_rank): it ",
                  fits ? "fits" : "does not fit", "\n");
  if (fits) return text;
  if (plan.fitting_changes().empty())
    return absl::StrCat(text, "                 no change of the job's keys is enough\n");
  for (const v1::FittingChange& change : plan.fitting_changes()) {
    absl::StrAppend(&text, "                 it would with ", absl::StrJoin(change.keys(), ", "), ": ",
                    human(change.bytes()), "\n");
  }
  return text;
}

// Which device a job without a word about it is planned for: where this machine has no GPU, that is not what it takes
// on one that has.
std::string device_line(const v1::Job& job, const v1::MemoryPlan& plan) {
  const bool chosen = job.resources().has_device() && job.resources().device() != v1::Resources::DEVICE_AUTO;
  if (chosen) return "";
  if (plan.has_prediction())
    return absl::StrCat("device           a GPU, as --gpu ", plan.prediction().card(), " asks\n");
  if (plan.device() == "cuda") return "device           a GPU: resources.device is auto, and there is one here\n";
  return "device           the CPU: resources.device is auto, and no GPU serves here; resources: {device: cuda} plans "
         "for "
         "one\n";
}

// Seconds by group, at the peak rates of a card.
std::string prediction_lines(const v1::StepPrediction& p) {
  std::vector<std::vector<std::string>> rows;
  const auto row = [&](const char* name, double seconds) {
    rows.push_back({name, absl::StrFormat("%.1f ms", 1e3 * seconds),
                    absl::StrFormat("%.1f %%", p.step() > 0 ? 100 * seconds / p.step() : 0.0)});
  };
  row("products", p.products());
  row("attention", p.attention());
  row("memory-bound", p.memory_bound());
  row("optimizer", p.optimizer());
  row("refresh, mean", p.refresh());
  row("wire", p.wire());
  row("a step", p.step());
  return absl::StrCat("\n", table({absl::StrCat("predicted on ", p.card()), "time", "part"}, rows), "\n",
                      "predicted        at most ", human_count(p.tokens_per_second()),
                      " tokens/s: every operation at the peak rates of the card (", p.source(),
                      "), one after the other; not measured\n");
}

// The highest rates of all groups, where they differ.
std::string rates_line(const v1::Optimizer& optimizer) {
  const v1::Rates& rates = optimizer.rates();
  if (!rates.has_embedding() && !rates.has_head() && !rates.has_vectors()) return "";
  const auto rate = [&](bool given, double ratio) { return optimizer.learning_rate() * (given ? ratio : 1.0); };
  return absl::StrFormat("learning rates   matrices %.3g, embedding %.3g, head %.3g, vectors %.3g at the highest\n",
                         optimizer.learning_rate(), rate(rates.has_embedding(), rates.embedding()),
                         rate(rates.has_head(), rates.head()), rate(rates.has_vectors(), rates.vectors()));
}

std::string plan_table(const v1::Job& job, const v1::MemoryPlan& plan) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> header{"memory per rank"};
  for (const v1::RankPlan& rank : plan.ranks()) header.push_back(absl::StrCat("rank ", rank.rank()));
  auto row = [&](const char* name, auto bytes_of_rank) {
    std::vector<std::string> cells{name};
    for (const v1::RankPlan& rank : plan.ranks())
      cells.push_back(human_bytes(static_cast<double>(bytes_of_rank(rank))));
    rows.push_back(std::move(cells));
  };
  row("weights", [](const v1::RankPlan& r) { return r.memory().weights(); });
  row("gradients", [](const v1::RankPlan& r) { return r.memory().gradients(); });
  row("optimizer states", [](const v1::RankPlan& r) { return r.memory().optimizer_states(); });
  row("subspaces", [](const v1::RankPlan& r) { return r.memory().subspaces(); });
  row("activations", [](const v1::RankPlan& r) { return r.memory().activations(); });
  row("workspace", [](const v1::RankPlan& r) { return r.memory().workspace(); });
  row("total", [](const v1::RankPlan& r) { return r.peak_bytes(); });
  row("with the process", [&](const v1::RankPlan& r) { return r.peak_bytes() + plan.process_base_bytes(); });
  std::string text = absl::StrCat(
      job.name(), ": ", human_count(static_cast<double>(plan.parameters())), " parameters, ", plan.ranks_size(),
      plan.ranks_size() == 1 ? " rank on " : " ranks on ", plan.device(), "\n\n", table(header, rows), "\n");
  absl::StrAppend(&text, device_line(job, plan));
  const double full = static_cast<double>(plan.optimizer_full_rank_bytes());
  absl::StrAppend(&text, "optimizer state  ", human_bytes(full * (1.0 - plan.saved_ratio())),
                  " with its subspaces, against ", human_bytes(full),
                  " at full rank: ", absl::StrFormat("%.1f %% saved\n", 100.0 * plan.saved_ratio()));
  absl::StrAppend(&text, rates_line(job.optimizer()));
  if (plan.ranks_size() > 1) absl::StrAppend(&text, "\n", wire_table(plan), "\n");
  absl::StrAppend(&text, ways_table(plan), "\n", fit_lines(plan));
  absl::StrAppend(&text, "work             ", absl::StrFormat("%.1f GFLOP a step\n", plan.step_flops() / 1e9));
  if (plan.has_prediction()) absl::StrAppend(&text, prediction_lines(plan.prediction()));
  return text;
}

}  // namespace

int fail(const std::string& message) {
  for (absl::string_view line : absl::StrSplit(message, '\n', absl::SkipEmpty()))
    std::cerr << "galleon: " << printable(line) << "\n";
  return 1;
}

std::string trainer_path() {
  const char* path = std::getenv("GALLEON_TRAINER");
  return path != nullptr ? path : executable_folder() + "/galleon-trainer";
}

int run_trainer(const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  const std::string path = trainer_path();
  std::string name = "galleon";  // what its help and errors call the command
  argv.push_back(name.data());
  std::vector<std::string> copies = arguments;
  for (std::string& argument : copies) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execv(path.c_str(), argv.data());
  return fail(std::string(errno_status("cannot start", path, errno).message()));
}

int run_plan(const std::string& job_file, const std::string& gpu, OutputFormat format) {
  absl::StatusOr<v1::Job> job = load_job_file(job_file);
  if (!job.ok()) return fail(std::string(job.status().message()));
  std::vector<std::string> command{trainer_path(), "--plan", "--job", job_file, "--format", "binary"};
  if (!gpu.empty()) command.insert(command.end(), {"--gpu", gpu});
  absl::StatusOr<CommandResult> result = run_command(command, absl::Minutes(5));
  if (!result.ok()) return fail(std::string(result.status().message()));
  if (result->timed_out) return fail("the plan took longer than five minutes");
  if (result->exit.code != 0 || result->exit.signal != 0)
    return fail(result->err.empty() ? "galleon-trainer --plan failed" : result->err);
  v1::MemoryPlan plan;
  if (!plan.ParseFromString(result->out)) return fail("galleon-trainer --plan printed something else than a plan");
  std::cerr << result->err;
  if (format == OutputFormat::kTable) {
    std::cout << plan_table(*job, plan);
  } else {
    std::cout << (format == OutputFormat::kJson ? to_json(plan) : to_yaml(to_json(plan)));
  }
  return 0;
}

}  // namespace galleon
