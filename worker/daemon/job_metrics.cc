#include "worker/daemon/job_metrics.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace galleon {

// Families in order of first use, so that a scrape is easy to read.
class JobMetrics::Families {
 public:
  void add(const std::string& name, const std::string& help, prometheus::MetricType type,
           const std::vector<std::pair<std::string, std::string>>& labels, double value) {
    auto [it, fresh] = index_.emplace(name, families_.size());
    if (fresh) families_.push_back({name, help, type, {}});
    prometheus::ClientMetric metric;
    for (const auto& [key, text] : labels) metric.label.push_back({key, text});
    if (type == prometheus::MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    families_[it->second].metric.push_back(std::move(metric));
  }
  std::vector<prometheus::MetricFamily> take() { return std::move(families_); }

 private:
  std::map<std::string, size_t> index_;
  std::vector<prometheus::MetricFamily> families_;
};

namespace {

constexpr absl::Duration kKeepAfterEnd = absl::Seconds(150);
constexpr int kScrapesAfterEnd = 4;

constexpr auto kGauge = prometheus::MetricType::Gauge;
constexpr auto kCounter = prometheus::MetricType::Counter;

using Families = JobMetrics::Families;
using Labels = std::vector<std::pair<std::string, std::string>>;

Labels with(Labels labels, const std::string& key, const std::string& value) {
  labels.emplace_back(key, value);
  return labels;
}

void add_memory(Families& out, const Labels& labels, const v1::MemoryByCategory& memory) {
  const std::pair<const char*, uint64_t> rows[] = {
      {"weights", memory.weights()},
      {"gradients", memory.gradients()},
      {"optimizer_states", memory.optimizer_states()},
      {"subspaces", memory.subspaces()},
      {"activations", memory.activations()},
      {"workspace", memory.workspace()},
  };
  for (const auto& [category, bytes] : rows) {
    out.add("galleon_job_memory_bytes", "Bytes of a rank by category, as its ledger counts them",
            prometheus::MetricType::Gauge, with(labels, "category", category), static_cast<double>(bytes));
  }
}

void add_processor(Families& out, const v1::ProcessorInfo& processor) {
  out.add("galleon_worker_processor_info", "The processor that trainers of this worker compute with", kGauge,
          {{"model", processor.model()},
           {"architecture", processor.architecture()},
           {"features", processor.features()},
           {"instruction_set", processor.instruction_set()}},
          1);
  for (const v1::ProcessorInfo::Library& library : processor.libraries()) {
    out.add("galleon_worker_library_fits", "1: the library has chosen kernels as good as the processor; 0: lesser ones",
            kGauge, {{"library", library.name()}, {"version", library.version()}, {"kernels", library.kernels()}},
            library.too_little() ? 0 : 1);
  }
}

void add_gpu(Families& out, size_t slot, const GpuState& gpu) {
  const Labels labels = {{"slot", absl::StrCat(slot)}, {"uuid", gpu.uuid}};
  out.add("galleon_worker_gpu_info", "The GPU of a slot; other exporters know it by its UUID", kGauge,
          with(labels, "name", gpu.name), 1);
  out.add("galleon_worker_gpu_healthy", "1: takes ranks; 0: its driver reports a fault", kGauge, labels,
          gpu.fault.empty() ? 1 : 0);
  out.add("galleon_worker_gpu_memory_bytes", "Memory of the GPU", kGauge, with(labels, "state", "used"),
          static_cast<double>(gpu.memory_bytes - std::min(gpu.memory_bytes, gpu.free_bytes)));
  out.add("galleon_worker_gpu_memory_bytes", "Memory of the GPU", kGauge, with(labels, "state", "free"),
          static_cast<double>(gpu.free_bytes));
  if (gpu.temperature_celsius >= 0) {
    out.add("galleon_worker_gpu_temperature_celsius", "Temperature of the GPU", kGauge, labels,
            gpu.temperature_celsius);
  }
  if (gpu.utilisation >= 0) {
    out.add("galleon_worker_gpu_utilisation_ratio", "Part of the last moments in which a kernel ran", kGauge, labels,
            gpu.utilisation);
  }
}

// What the newest logged step says of training.
void add_steps(Families& out, const Labels& labels, const v1::StepMetrics& p) {
  out.add("galleon_job_planned_steps", "Steps that the job is to make", kGauge, labels,
          static_cast<double>(p.total_steps()));
  out.add("galleon_job_steps_total", "Steps that this attempt has made, as of the newest logged one", kCounter, labels,
          static_cast<double>(p.attempt_steps()));
  out.add("galleon_job_loss", "Training loss before the newest logged update", kGauge, labels, p.loss());
  out.add("galleon_job_step", "The newest logged step", kGauge, labels, static_cast<double>(p.step()));
  out.add("galleon_job_tokens_total", "Tokens trained on", kCounter, labels, static_cast<double>(p.tokens()));
  out.add("galleon_job_tokens_per_second", "Throughput of all ranks", kGauge, labels, p.tokens_per_second());
  out.add("galleon_job_learning_rate", "Learning rate of the newest logged update", kGauge, labels, p.learning_rate());
  out.add("galleon_job_gradient_norm", "Norm of the gradient in the clip space", kGauge, labels, p.grad_norm());
  out.add("galleon_job_step_seconds_total", "Seconds spent in steps, refreshes and waits included", kCounter, labels,
          p.step_seconds_total());
  out.add("galleon_job_data_wait_seconds_total", "Seconds of steps in which rank 0 waited for data", kCounter, labels,
          p.data_wait_seconds_total());
}

// Of a job without GaLore there is nothing to tell, and of others not before the first refresh.
void add_subspaces(Families& out, const Labels& labels, const v1::StepMetrics& p) {
  out.add("galleon_job_subspace_refresh_seconds_total", "Seconds spent in subspace refreshes", kCounter, labels,
          p.refresh_seconds_total());
  if (p.subspace_overlap() > 0) {
    out.add("galleon_job_subspace_overlap_ratio", "Mean overlap of successive bases", kGauge, labels,
            p.subspace_overlap());
  }
  if (p.captured_energy() > 0) {
    out.add("galleon_job_subspace_energy_ratio", "Part of the gradient's energy that new bases keep, mean", kGauge,
            labels, p.captured_energy());
  }
}

// What rank 0 has sent.
void add_wire(Families& out, const Labels& labels, const v1::StepMetrics& p) {
  const std::pair<const char*, uint64_t> rows[] = {{"reduce_scatter", p.communication_total().reduce_scatter()},
                                                   {"all_gather", p.communication_total().all_gather()},
                                                   {"all_reduce", p.communication_total().all_reduce()},
                                                   {"reduce", p.communication_total().reduce()},
                                                   {"broadcast", p.communication_total().broadcast()}};
  for (const auto& [operation, bytes] : rows) {
    out.add("galleon_job_communication_bytes_total", "Bytes that rank 0 sent", kCounter,
            with(labels, "operation", operation), static_cast<double>(bytes));
  }
  const std::pair<const char*, uint64_t> contents[] = {
      {"projected_gradient", p.communication_total().projected_gradient()},
      {"update", p.communication_total().update()},
      {"dense_gradient", p.communication_total().dense_gradient()},
      {"projected_dense", p.communication_total().projected_dense()},
      {"weight", p.communication_total().weight()},
      {"statistic", p.communication_total().statistic()},
      {"subspace", p.communication_total().subspace()}};
  for (const auto& [content, bytes] : contents) {
    out.add("galleon_job_communication_content_bytes_total", "Bytes that rank 0 sent, by what they carry", kCounter,
            with(labels, "content", content), static_cast<double>(bytes));
  }
  out.add("galleon_job_communication_dense_bytes_total", "Bytes that dense gradients would have cost rank 0", kCounter,
          labels, static_cast<double>(p.communication_dense_total_bytes()));
}

// Who has waited for whom.
void add_waits(Families& out, const Labels& labels, const v1::StepMetrics& p) {
  for (int rank = 0; rank < p.waited_seconds_total_size(); ++rank) {
    out.add("galleon_job_rank_waited_seconds_total",
            "Seconds that a rank has waited for others in this attempt; they wait for the one with the least", kCounter,
            with(labels, "rank", absl::StrCat(rank)), p.waited_seconds_total(rank));
  }
  if (p.waited_seconds_size() > 1) {
    const auto least = std::min_element(p.waited_seconds().begin(), p.waited_seconds().end());
    out.add("galleon_job_slowest_rank", "The rank that the others waited for most since the last logged step", kGauge,
            labels, static_cast<double>(least - p.waited_seconds().begin()));
  }
}

void add_ledger(Families& out, const Labels& labels, const v1::MemoryPlan& ledger) {
  out.add("galleon_job_optimizer_full_rank_bytes",
          "Optimizer state at full rank, all ranks: of the same rule, or of AdamW where that keeps little by itself",
          kGauge, labels, static_cast<double>(ledger.optimizer_full_rank_bytes()));
  out.add("galleon_job_optimizer_saved_ratio", "1 - (optimizer states + subspaces) / full rank", kGauge, labels,
          ledger.saved_ratio());
}

// What rank 0 reports of the whole job.
void add_report(Families& out, const Labels& labels, const v1::RankReport& report, bool galore) {
  if (report.has_progress()) {
    add_steps(out, labels, report.progress());
    if (galore) add_subspaces(out, labels, report.progress());
    add_wire(out, labels, report.progress());
    add_waits(out, labels, report.progress());
  }
  if (report.has_ledger()) add_ledger(out, labels, report.ledger());
  if (report.has_evaluation()) {
    out.add("galleon_job_validation_loss", "Loss of the newest evaluation", kGauge, labels,
            report.evaluation().validation_loss());
  }
  out.add("galleon_job_attempt", "Which attempt of the job this is; a higher one than before: it has started again",
          kGauge, labels, report.id().attempt());
  if (report.checkpoint_step() > 0) {
    out.add("galleon_job_checkpoint_step", "Step of the newest checkpoint that this attempt has published", kGauge,
            labels, static_cast<double>(report.checkpoint_step()));
  }
  out.add("galleon_job_diverged",
          "1: the attempt has ended because a loss, a gradient or a weight was not finite any more", kGauge, labels,
          report.finished().diverged() ? 1 : 0);
}

// Each rank's own ledger, if it has said anything yet.
void add_ledger_of_rank(Families& out, const Labels& labels, const v1::RankReport& report) {
  if (report.has_progress()) {
    add_memory(out, labels, report.progress().memory());
    out.add("galleon_job_memory_peak_bytes", "Largest sum over categories so far, of a rank", kGauge, labels,
            static_cast<double>(report.progress().memory_peak()));
  } else if (report.ledger().ranks_size() > 0) {
    add_memory(out, labels, report.ledger().ranks(0).memory());
  }
}

// Steps are made, or have been.
bool trains(const v1::RankReport& report) {
  return report.newest_step() > 0 || report.stage().name() == "train";
}

bool has_moved(const v1::RankReport& before, const v1::RankReport& after) {
  return before.newest_step() != after.newest_step() || before.stage().name() != after.stage().name() ||
         before.stage().elapsed_seconds() != after.stage().elapsed_seconds();
}

}  // namespace

void JobMetrics::update(const v1::Assignment& assignment, const v1::RankReport& report, pid_t group) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const v1::AttemptId& id = report.id();
  const auto [it, added] =
      series_.try_emplace(absl::StrCat(id.job_id(), "/", id.attempt(), "/", report.rank()), Series());
  Series& s = it->second;
  if (added) {
    // What an earlier attempt said last is not shown beside what this one says.
    std::erase_if(series_, [&id](const auto& entry) {
      const v1::AttemptId& other = entry.second.report.id();
      return entry.second.ended && other.job_id() == id.job_id() && other.attempt() < id.attempt();
    });
    const v1::Job& job = assignment.job();
    s.slot = assignment.slot();
    s.galore = job.optimizer().has_galore();
    s.info = {{"name", job.name()},
              {"queue", job.scheduling().queue()},
              {"model", job.model().source()},
              {"ranks", absl::StrCat(assignment.ranks())},
              {"optimizer", std::string(absl::StripPrefix(v1::Optimizer::Rule_Name(job.optimizer().rule()), "RULE_"))},
              {"galore_rank", absl::StrCat(job.optimizer().galore().rank())}};
    std::transform(s.info[4].second.begin(), s.info[4].second.end(), s.info[4].second.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  }
  if (added || has_moved(s.report, report)) s.moved = clock_.monotonic();
  s.report = report;
  s.group = group;
  if (report.phase() == v1::RankReport::EXITED && !s.ended) {
    s.ended = true;
    s.end = clock_.monotonic();
  }
}

void JobMetrics::set_slots(uint32_t total, uint32_t used) {
  const std::lock_guard<std::mutex> lock(mutex_);
  slots_ = total;
  slots_used_ = used;
}

void JobMetrics::set_slot_memory(uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  slot_memory_ = bytes;
}

void JobMetrics::set_gpus(const std::vector<GpuState>& gpus) {
  const std::lock_guard<std::mutex> lock(mutex_);
  gpus_ = gpus;
}

void JobMetrics::set_lease(absl::Duration end, absl::Duration length) {
  const std::lock_guard<std::mutex> lock(mutex_);
  lease_end_ = end;
  lease_length_ = length;
}

void JobMetrics::add_worker(Families& out, absl::Duration now) const {
  out.add("galleon_worker_slots", "Slots of this worker", kGauge, {{"state", "used"}}, slots_used_);
  out.add("galleon_worker_slots", "Slots of this worker", kGauge, {{"state", "free"}},
          slots_ - std::min(slots_, slots_used_));
  if (slot_memory_ > 0) {
    out.add("galleon_worker_slot_memory_bytes", "What each slot offers that is a share of the processors", kGauge, {},
            static_cast<double>(slot_memory_));
  }
  out.add("galleon_worker_lease_seconds", "Time that is left of the lease; 0 without one", kGauge, {},
          std::max(0.0, absl::ToDoubleSeconds(lease_end_ - now)));
  out.add("galleon_worker_lease_length_seconds", "For how long the scheduler last gave the lease", kGauge, {},
          absl::ToDoubleSeconds(lease_length_));
  if (!processor_.model().empty()) add_processor(out, processor_);
  for (size_t slot = 0; slot < gpus_.size(); ++slot) add_gpu(out, slot, gpus_[slot]);
}

bool JobMetrics::is_over(const Series& series, absl::Duration now) {
  return series.ended && (series.scrapes_after_end >= kScrapesAfterEnd || now - series.end > kKeepAfterEnd);
}

void JobMetrics::set_processor(const v1::ProcessorInfo& processor) {
  const std::lock_guard<std::mutex> lock(mutex_);
  processor_ = processor;
}

std::set<pid_t> JobMetrics::groups() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::set<pid_t> found;
  for (const auto& [key, series] : series_)
    if (!series.ended && series.group > 0) found.insert(series.group);
  return found;
}

void JobMetrics::add_rank(Families& out, const Series& series, const std::map<pid_t, GroupUse>& uses) const {
  const v1::AttemptId& id = series.report.id();
  const Labels labels = {
      {"job_id", id.job_id()}, {"attempt", absl::StrCat(id.attempt())}, {"rank", absl::StrCat(series.report.rank())}};
  add_ledger_of_rank(out, labels, series.report);
  if (series.ended) return;
  const GpuState* gpu = series.slot < gpus_.size() ? &gpus_[series.slot] : nullptr;
  const Labels place = with(labels, "device", gpu != nullptr ? "cuda" : "cpu");
  Labels info = with(place, "slot", absl::StrCat(series.slot));
  if (gpu != nullptr) info.emplace_back("gpu_uuid", gpu->uuid);
  out.add("galleon_rank_info", "Where a rank runs, as long as it does: its slot, and the UUID of the slot's GPU",
          kGauge, info, 1);
  if (const uint64_t limit = gpu != nullptr ? gpu->memory_bytes : slot_memory_; limit > 0) {
    out.add("galleon_job_memory_limit_bytes",
            "What the slot of a rank has: the memory of its GPU, or a share of the machine's", kGauge, place,
            static_cast<double>(limit));
  }
  if (const auto use = uses.find(series.group); use != uses.end()) {
    out.add("galleon_job_memory_resident_bytes", "Memory of the machine that the processes of a rank hold", kGauge,
            labels, static_cast<double>(use->second.resident_bytes));
  }
}

std::vector<prometheus::MetricFamily> JobMetrics::Collect() const {
  const std::map<pid_t, GroupUse> uses = process_group_uses(groups());
  const std::lock_guard<std::mutex> lock(mutex_);
  const absl::Duration now = clock_.monotonic();
  Families out;
  add_worker(out, now);
  std::erase_if(series_, [now](const auto& entry) { return is_over(entry.second, now); });
  for (auto& [key, series] : series_) {
    if (series.ended) ++series.scrapes_after_end;
    add_rank(out, series, uses);
    if (series.report.rank() != 0) continue;
    const v1::AttemptId& id = series.report.id();
    const Labels labels = {{"job_id", id.job_id()}, {"attempt", absl::StrCat(id.attempt())}};
    Labels info = labels;
    info.insert(info.end(), series.info.begin(), series.info.end());
    out.add("galleon_job_info", "What the job is", kGauge, info, 1);
    if (!series.ended && trains(series.report)) {
      out.add("galleon_job_progress_age_seconds",
              "Seconds since the newest step, logged or not, or the newest stage such as an evaluation was heard of",
              kGauge, labels, absl::ToDoubleSeconds(now - series.moved));
    }
    add_report(out, labels, series.report, series.galore);
  }
  return out.take();
}

}  // namespace galleon
