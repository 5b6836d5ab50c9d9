// A data folder of a scheduler in which many jobs have ended, as they are after months of use: each was submitted with
// a whole job file, ran, told of its progress, published checkpoints and ended.
#include <cstdio>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "figures.h"
#include "galleon/v1/workers.pb.h"
#include "proto/jobfile/jobfile.h"
#include "server/core/scheduler.h"
#include "server/store/sqlite_journal.h"
#include "whole_job.h"

namespace galleon::bench {
namespace {

constexpr char kJobFile[] = R"(
name: %s
task: pretrain
model: {source: "preset:llama-60m", seed: %d}
tokenizer: /data/tokenizers/%s/tokenizer.model
data:
  train: ["/data/%s/train.*.json.gz"]
  validation: ["/data/%s/validation.*.json.gz"]
  sequence_length: 256
optimizer:
  rule: adamw
  learning_rate: %g
  galore: {rank: 128, refresh_interval: 200}
training: {steps: %d, global_batch: 512, micro_batch: 16}
scheduling: {queue: default, priority: %d}
labels: {team: "%s", experiment: "run-%d"}
)";

}  // namespace

v1::Job whole_job(int number) {
  static constexpr const char* kNames[] = {"llama-60m-c4", "novels",  "speech-notes",
                                           "bert-cola",    "nightly", "sweep-lr"};
  static constexpr const char* kTeams[] = {"language", "vision", "speech", "search"};
  const char* name = kNames[number % 6];
  const char* team = kTeams[number / 7 % 4];
  const std::string yaml = absl::StrFormat(kJobFile, name, number % 97, team, team, team, 0.001 * (1 + number % 13),
                                           1000 * (1 + number % 11), number % 5, team, number / 10);
  absl::StatusOr<v1::Job> job = parse_job(yaml, "job.yaml", "");
  if (!job.ok()) {
    std::fprintf(stderr, "%s\n", std::string(job.status().message()).c_str());
    std::abort();
  }
  v1::ModelShape& shape = *job->mutable_shape();
  shape.set_architecture("llama");
  shape.set_vocabulary(32'000);
  shape.set_hidden(512);
  shape.set_intermediate(1'376);
  shape.set_layers(8);
  shape.set_heads(8);
  shape.set_parameters(58'073'600);
  return *std::move(job);
}

namespace {

void fill(v1::MemoryByCategory& memory, uint64_t seed) {
  memory.set_weights(116'147'200);
  memory.set_gradients(65'536'000 + seed);
  memory.set_optimizer_states(139'264'000);
  memory.set_subspaces(19'922'944);
  memory.set_activations(1'073'741'824 + seed);
  memory.set_workspace(67'108'864);
}

void fill(v1::WireBytes& wire, uint64_t seed) {
  wire.set_reduce_scatter(12'582'912 + seed);
  wire.set_all_gather(25'165'824);
  wire.set_projected_gradient(12'582'912);
  wire.set_update(25'165'824);
}

v1::MemoryPlan plan(uint64_t seed) {
  v1::MemoryPlan plan;
  v1::RankPlan& rank = *plan.add_ranks();
  fill(*rank.mutable_memory(), seed);
  rank.set_peak_bytes(1'481'720'832);
  fill(*rank.mutable_wire_step(), seed);
  plan.set_process_base_bytes(180 << 20);
  plan.set_optimizer_full_rank_bytes(464'588'800);
  plan.set_saved_ratio(0.657);
  plan.set_parameters(58'073'600);
  plan.set_step_flops(4.5e13);
  plan.set_device("cpu");
  plan.set_required_bytes(1'670'464'512);
  for (const char* name : {"AdamW", "AdamW, ZeRO 1", "AdamW, ZeRO 2", "AdamW, ZeRO 3"}) {
    v1::OtherWay& way = *plan.add_other_ways();
    way.set_name(name);
    fill(*way.mutable_memory(), seed + 1);
    way.set_peak_bytes(2'000'000'000);
  }
  return plan;
}

// A fleet that runs what it is given in two syncs: one that tells of progress and a checkpoint, one of the end.
class Fleet {
 public:
  Fleet(server::Scheduler& scheduler, server::Now now) : scheduler_(scheduler) {
    for (int i = 0; i < 50; ++i) {
      const v1::Worker worker = worker_named(i, 8);
      (void)scheduler_.register_worker(now, worker);
      v1::SyncWorkerRequest& request = requests_.emplace_back();
      request.set_worker_id(worker.worker_id());
      request.set_incarnation(worker.incarnation());
      request.set_sequence(1);
      (void)scheduler_.sync(now, request);
    }
  }
  void turn(server::Now now) {
    for (v1::SyncWorkerRequest& request : requests_) {
      const v1::SyncWorkerResponse response = scheduler_.assignments(now, request.worker_id(), request.sequence());
      request.clear_ranks();
      for (const v1::Assignment& assignment : response.assignments()) {
        v1::RankReport& report = *request.add_ranks();
        *report.mutable_id() = assignment.id();
        report.set_rank(assignment.rank());
        report.set_phase(v1::RankReport::RUNNING);
        tell(report);
      }
      say(now, request);
      for (v1::RankReport& report : *request.mutable_ranks()) {
        publish(now, request.worker_id(), report);
        report.set_phase(v1::RankReport::EXITED);
        const bool fails = random_() % 8 == 0;
        report.mutable_finished()->set_outcome(fails ? v1::Finished::FAILED : v1::Finished::SUCCEEDED);
        report.mutable_finished()->set_permanent(fails);
        if (fails)
          report.mutable_finished()->set_message("the loss is not a number after step 800; lower learning_rate");
        report.mutable_finished()->set_train_loss(value(3, 1));
      }
      say(now, request);
    }
  }

 private:
  double value(double least, double range) { return least + range * static_cast<double>(random_()) / 4294967296.0; }
  void say(server::Now now, v1::SyncWorkerRequest& request) {
    request.set_sequence(request.sequence() + 1);
    (void)scheduler_.sync(now, request);
  }
  void tell(v1::RankReport& report) {
    report.mutable_stage()->set_name("train");
    report.mutable_stage()->set_detail("1000 steps of 512 sequences of 256 tokens");
    report.mutable_stage()->set_elapsed_seconds(value(10, 1000));
    v1::StepMetrics& progress = *report.mutable_progress();
    progress.set_step(800);
    progress.set_total_steps(1'000);
    progress.set_loss(value(3, 1));
    progress.set_learning_rate(value(0, 0.01));
    progress.set_grad_norm(value(0, 2));
    progress.set_tokens(104'857'600);
    progress.set_seconds(value(100, 10'000));
    progress.set_tokens_per_second(value(10'000, 1'000));
    fill(*progress.mutable_memory(), random_() % 1000);
    progress.set_memory_peak(1'481'720'832);
    fill(*progress.mutable_communication_total(), random_());
    v1::Evaluation& evaluation = *report.mutable_evaluation();
    evaluation.set_step(800);
    evaluation.set_validation_loss(value(3, 1));
    evaluation.set_validation_tokens(10'000'000);
    evaluation.set_perplexity(value(20, 20));
    *report.mutable_ledger() = plan(random_() % 1000);
  }
  void publish(server::Now now, const std::string& worker, const v1::RankReport& report) {
    v1::PublishCheckpointRequest request;
    *request.mutable_id() = report.id();
    request.set_worker_id(worker);
    request.set_step(800);
    request.set_folder(absl::StrCat("/jobs/", report.id().job_id(), "/checkpoints/step-00000800"));
    (void)scheduler_.publish_checkpoint(now, request);
  }

  server::Scheduler& scheduler_;
  std::vector<v1::SyncWorkerRequest> requests_;
  std::minstd_rand random_{7};
};

void compact(server::Scheduler& scheduler, server::Journal& journal) {
  server::SnapshotChange change;
  change.head = scheduler.state().head();
  change.jobs.assign(scheduler.state().changed().begin(), scheduler.state().changed().end());
  change.body = [&state = scheduler.state()](uint64_t number) { return state.body(number); };
  if (!journal.compact(change).ok()) std::abort();
  scheduler.mark_saved();
}

}  // namespace

void fill_ended(const std::string& folder, int jobs, int64_t end_ms) {
  absl::StatusOr<std::unique_ptr<server::SqliteJournal>> journal = server::SqliteJournal::open(folder);
  if (!journal.ok()) std::abort();
  server::SchedulerOptions options;
  options.version = "1";
  server::Scheduler scheduler(options);
  // All within twenty days, so that the default retention leaves them.
  server::Now now{end_ms - 20LL * 24 * 3'600'000, 1'000};
  const int64_t step_ms = 20LL * 24 * 3'600'000 / std::max(1, jobs / 400 + 1) / 4;
  scheduler.recovered(now);
  Fleet fleet(scheduler, now);
  std::minstd_rand random(11);
  const auto turn = [&] {
    now.mono_ms += 2'000;
    now.wall_ms += step_ms;
    scheduler.tick(now);
    std::vector<v1::JournalEvent> events = scheduler.take_events();
    if (!(*journal)->append(events).ok()) std::abort();
    for (const v1::JournalEvent& event : events) {
      if (event.has_attempt_reserved()) scheduler.confirm_start(now, event.attempt_reserved().id());
    }
    fleet.turn(now);
    if (!(*journal)->append(scheduler.take_events()).ok()) std::abort();
    scheduler.round_over();
    if ((*journal)->events_since_snapshot() > 20'000) compact(scheduler, **journal);
  };
  for (int i = 0; i < jobs;) {
    while (i < jobs && scheduler.state().queue().size() < 400) {
      server::Scheduler::Submission submission{
          whole_job(i),
          plan(static_cast<uint64_t>(i % 1000)),
          absl::StrFormat("%08x%08x%08x%08x", random(), random(), random(), random()),
          "/srv/galleon/jobs",
          scheduler.next_number(),
          absl::StrCat("user-", i % 17)};
      if (!scheduler.submit(now, submission).ok()) std::abort();
      ++i;
    }
    turn();
  }
  while (!scheduler.state().queue().empty() || !scheduler.state().active().empty()) turn();
  compact(scheduler, **journal);
}

}  // namespace galleon::bench
