// What the daemon does before its loop: folder, identity, what a daemon before it left, metrics.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/ids.h"
#include "common/base/landlock.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/processor_name.h"
#include "common/base/status_macros.h"
#include "common/net/certificate_expiry.h"
#include "common/net/disk_space.h"
#include "common/net/listen_address.h"
#include "common/net/own_address.h"
#include "common/net/own_metrics.h"
#include "worker/daemon/allowed_tracking.h"
#include "worker/daemon/confinement.h"
#include "worker/daemon/daemon_loop.h"
#include "worker/daemon/input_paths.h"
#include "worker/daemon/process_group.h"

namespace galleon {

namespace {

// What the trainer computes with here. A trainer that cannot even say that would fail every job that comes.
absl::StatusOr<v1::ProcessorInfo> processor_of_trainer(const std::string& trainer, const Confinement& confinement) {
  ProcessOptions options;
  options.command = {trainer, "--processor", "--format", "binary"};
  // Confined as it will be, so that a library that it may not read is known now.
  absl::StatusOr<FileDescriptor> ruleset = make_ruleset(file_rules(confinement, trainer));
  if (!ruleset.ok() && !absl::IsUnimplemented(ruleset.status())) return ruleset.status();
  if (ruleset.ok()) options.ruleset = ruleset->get();
  if (!confinement.user.empty()) {
    ASSIGN_OR_RETURN(options.user, find_user(confinement.user));
  }
  ASSIGN_OR_RETURN(const CommandResult said, run_command(options, absl::Minutes(2)));
  v1::ProcessorInfo processor;
  const bool ended = !said.timed_out && said.exit.code == 0 && said.exit.signal == 0;
  if (ended && processor.ParseFromString(said.out) && !processor.model().empty()) return processor;
  return absl::FailedPreconditionError(
      absl::StrCat("the trainer ", trainer, " does not run here: ",
                   said.timed_out          ? "it did not answer within two minutes"
                   : said.exit.signal != 0 ? absl::StrCat("it was ended by signal ", said.exit.signal)
                   : ended                 ? "it is of another version than this galleon-worker"
                   : said.err.empty()      ? absl::StrCat("it exits with ", said.exit.code)
                                           : std::string(absl::StripAsciiWhitespace(said.err))));
}

}  // namespace

DaemonLoop::DaemonLoop(const DaemonOptions& options)
    : options_(options), metrics_(std::make_shared<JobMetrics>(clock_)), client_(options.server, options.credentials) {}

absl::Status DaemonLoop::prepare() {
  ASSIGN_OR_RETURN(std::vector<std::string> roots, resolve_roots(options_.allow));
  ASSIGN_OR_RETURN(std::vector<std::string> copies, resolve_copies(options_.allow_copies));
  ASSIGN_OR_RETURN(rank_options_.trackers, resolve_trackers(options_.allow_tracking));
  RETURN_IF_ERROR(check_own_folders(roots, options_.data, options_.tls));
  if (!options_.trainer_user.empty()) RETURN_IF_ERROR(check_trainer_user(options_.trainer_user));
  if (::access(options_.trainer.c_str(), X_OK) != 0) {
    return absl::NotFoundError(
        absl::StrCat("galleon-trainer was not found at ", options_.trainer, "; give its path with --trainer"));
  }
  std::error_code error;
  rank_options_.trainer = std::filesystem::absolute(options_.trainer, error).string();
  ASSIGN_OR_RETURN(processor_, processor_of_trainer(rank_options_.trainer, {roots, {}, options_.trainer_user}));
  RETURN_IF_ERROR(make_folders(absl::StrCat(options_.data, "/attempts")));
  options_.data = std::filesystem::canonical(options_.data, error).string();
  RETURN_IF_ERROR(lock_data_folder());
  // Jobs, logs and sockets of trainers.
  ::chmod(absl::StrCat(options_.data, "/attempts").c_str(), S_IRWXU);
  RETURN_IF_ERROR(prepare_confinement());
  RETURN_IF_ERROR(load_incarnation());
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  rank_options_.executable = options_.executable;
  rank_options_.roots = roots;
  rank_options_.copies = copies;
  rank_options_.threads = options_.threads > 0 ? options_.threads : std::max(1u, cores / options_.slots);
  rank_options_.spool_bytes = options_.spool_bytes;
  rank_options_.token_cache_bytes = options_.token_cache_bytes;
  rank_options_.interface = options_.interface;
  if (options_.interface.empty()) {
    const absl::StatusOr<std::string> own = own_address_towards(options_.server.substr(0, options_.server.find(',')));
    if (own.ok()) {
      rank_options_.interface = *own;
    } else {
      log_warning("jobs of several machines cannot run here until --interface is given: ", own.status().message());
    }
  }
  metrics_->set_processor(processor_);
  RETURN_IF_ERROR(find_devices());
  recover_ranks();
  if (!options_.metrics.empty()) {
    HttpEndpointOptions http;
    http.listen = options_.metrics;
    secure_endpoint(options_.tls, options_.metrics_plain_http, http);
    http.metrics_token = options_.metrics_token;
    http.metrics = std::make_shared<WithDiskSpace>(
        metrics_, std::vector<ShownDisk>{data_disk(options_.data), jobs_disk(&jobs_disk_)});
    if (options_.certificates != nullptr)
      http.metrics = std::make_shared<WithCertificate>(http.metrics, options_.certificates);
    http.metrics = std::make_shared<WithProcess>(http.metrics, "galleon-worker", GALLEON_VERSION);
    http.metrics = std::make_shared<WithLabel>(http.metrics, "worker", options_.name);
    http.ready = [this] {
      return registered_ ? absl::OkStatus()
                         : absl::UnavailableError(absl::StrCat("not registered at ", options_.server));
    };
    ASSIGN_OR_RETURN(endpoint_, HttpEndpoint::start(http));
  }
  return absl::OkStatus();
}

absl::Status DaemonLoop::prepare_confinement() {
  // Where trainers keep what they copy from object stores, unless somebody has said so already.
  ::setenv("GALLEON_CACHE", absl::StrCat(options_.data, "/cache").c_str(), 0);
  rank_options_.cache = std::getenv("GALLEON_CACHE");
  rank_options_.trainer_user = options_.trainer_user;
  RETURN_IF_ERROR(give_job_folder(rank_options_.cache, options_.trainer_user));
  std::error_code error;
  rank_options_.cache = std::filesystem::canonical(rank_options_.cache, error).string();
  // On the way to the cache.
  if (!options_.trainer_user.empty()) {
    std::filesystem::permissions(options_.data,
                                 std::filesystem::perms::group_exec | std::filesystem::perms::others_exec,
                                 std::filesystem::perm_options::add, error);
  }
  const int landlock = landlock_version();
  const std::string user = options_.trainer_user.empty() ? "" : absl::StrCat(", as user ", options_.trainer_user);
  if (landlock > 0) {
    log_info("trainers are confined by Landlock, version ", landlock, user);
  } else {
    log_warning("trainers are not confined by Landlock, which this kernel does not have or does not let us use", user);
  }
  return absl::OkStatus();
}

absl::Status DaemonLoop::lock_data_folder() {
  const std::string path = absl::StrCat(options_.data, "/lock");
  lock_ = FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_.valid()) return errno_status("cannot open", path, errno);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError(
        absl::StrCat("another galleon-worker uses ", options_.data, "; stop it or give this one another --data"));
  }
  return absl::OkStatus();
}

absl::Status DaemonLoop::load_incarnation() {
  const std::string path = absl::StrCat(options_.data, "/incarnation");
  absl::StatusOr<std::string> text = read_file(path);
  if (text.ok()) incarnation_ = std::string(absl::StripAsciiWhitespace(*text));
  if (!incarnation_.empty()) return absl::OkStatus();
  incarnation_ = random_hex(16);
  return write_file_durably(path, absl::StrCat(incarnation_, "\n"));
}

void DaemonLoop::recover_ranks() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(absl::StrCat(options_.data, "/attempts"), error)) {
    absl::StatusOr<std::unique_ptr<HeldRank>> rank = HeldRank::recover(entry.path().string(), rank_options_);
    if (!rank.ok()) {
      // Without a state nothing was started from it.
      log_warning("left alone: ", rank.status().message());
      continue;
    }
    const std::string key = (*rank)->key();
    ranks_[key] = *std::move(rank);
  }
}

absl::Status DaemonLoop::find_devices() {
  rank_options_.devices.resize(options_.slots);
  if (options_.device == "cpu") return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Gpus>> gpus = open_nvml();
  if (!gpus.ok()) {
    // What the environment says wrongly is no lack of GPUs.
    if (options_.device == "cuda" || absl::IsInvalidArgument(gpus.status())) return gpus.status();
    log_info("slots are shares of the processors: ", gpus.status().message());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(devices_, SlotDevices::make(options_.device, options_.slots, *std::move(gpus)));
  for (uint32_t slot = 0; slot < devices_.gpu_slots(); ++slot) {
    const v1::DeviceInfo device = devices_.describe(slot);
    rank_options_.devices[slot] = {"cuda", device.uuid()};
    log_info("slot ", slot, " is ", device.name(), " (", device.uuid(), ")",
             device.healthy() ? "" : absl::StrCat(", which is not healthy: ", device.fault()));
  }
  return absl::OkStatus();
}

void DaemonLoop::watch_devices() {
  if (devices_.gpu_slots() == 0) return;
  std::set<uint32_t> used;
  for (const auto& [key, rank] : ranks_) {
    if (!rank->exited()) used.insert(rank->assignment().slot());
    if (rank->exited() && rank->report().device_failed())
      devices_.fail(rank->assignment().slot(), rank->report().finished().message());
  }
  const absl::Duration now = clock_.monotonic();
  if (now >= next_look_) {
    constexpr absl::Duration kBetweenLooks = absl::Seconds(5);
    next_look_ = now + kBetweenLooks;
    devices_.refresh(used);
    metrics_->set_gpus(devices_.states());
  }
}

void DaemonLoop::probe() {
  const absl::Duration now = clock_.monotonic();
  if (probing_ || !registered_ || now < next_probe_) return;
  probing_ = true;
  const PlaceOptions place{
      rank_options_.trainer,  options_.data, rank_options_.jobs_folder, rank_options_.roots, rank_options_.copies,
      rank_options_.trackers, &jobs_disk_};
  std::vector<FailedJob> failed;
  for (const auto& [id, job] : failed_jobs_) failed.push_back(job);
  const uint64_t number = probe_ ? probe_->number() + 1 : 1;
  probe_lane_.post([this, place, failed, number] {
    const v1::WorkerProbe found = probe_place(place, failed, number);
    inbox_.post([this, found] {
      probing_ = false;
      next_probe_ = clock_.monotonic() + options_.probe_interval;
      const std::string before = probe_ ? probe_->fault() : "";
      if (found.fault() != before && !found.fault().empty()) log_warning("no rank can run here: ", found.fault());
      if (found.fault() != before && found.fault().empty()) log_info("ranks can run here again");
      urgent_ = urgent_ || found.fault() != before;
      probe_ = found;
    });
  });
}

void DaemonLoop::remember_failed(const HeldRank& rank) {
  constexpr size_t kMost = 16;
  const std::string& id = rank.assignment().id().job_id();
  if (!rank.exited() || rank.report().finished().place_fault() != v1::PLACE_FAULT_DOUBTFUL) return;
  if (failed_jobs_
          .emplace(id, FailedJob{id, rank.assignment().job(), rank.assignment().job_folder(),
                                 rank.assignment().readable_folder()})
          .second)
    failed_order_.push_back(id);
  if (failed_order_.size() <= kMost) return;
  failed_jobs_.erase(failed_order_.front());
  failed_order_.pop_front();
}

v1::Worker DaemonLoop::describe_worker() {
  v1::Worker worker;
  worker.set_worker_id(options_.name);
  worker.set_version(GALLEON_VERSION);
  worker.set_slots(options_.slots);
  worker.set_incarnation(incarnation_);
  for (const auto& [key, value] : options_.labels) (*worker.mutable_labels())[key] = value;
  char host[256] = "";
  ::gethostname(host, sizeof(host) - 1);
  worker.set_host(host);
  *worker.mutable_processor() = processor_;
  next_look_ = absl::ZeroDuration();
  watch_devices();
  told_devices_ = describe_devices();
  for (const v1::DeviceInfo& device : told_devices_) *worker.add_devices() = device;
  return worker;
}

std::vector<v1::DeviceInfo> DaemonLoop::describe_devices() const {
  std::vector<v1::DeviceInfo> devices;
  // What our own trainers hold now is theirs to give back: slots are offered at their whole size.
  uint64_t free = available_memory_bytes();
  for (const auto& [key, rank] : ranks_) {
    if (!rank->exited()) free += process_group_use(rank->process().pid).resident_bytes;
  }
  const uint64_t total = total_memory_bytes() / options_.slots;
  const std::string name = processor_name();
  for (uint32_t slot = 0; slot < options_.slots; ++slot) {
    v1::DeviceInfo& device = devices.emplace_back();
    if (devices_.is_gpu(slot)) {
      device = devices_.describe(slot);
      device.set_index(slot);
      continue;
    }
    device.set_index(slot);
    device.set_kind("cpu");
    device.set_name(name);
    device.set_memory_bytes(std::max(total, options_.memory_per_slot));
    device.set_free_memory_bytes(options_.memory_per_slot > 0 ? options_.memory_per_slot
                                                              : std::min(total, free / options_.slots));
    metrics_->set_slot_memory(device.free_memory_bytes());
    device.set_healthy(true);
  }
  return devices;
}

void DaemonLoop::become_ready() {
  if (ready_written_) return;
  ready_written_ = true;
  log_info("worker ", options_.name, " is registered at ", options_.server, " with ", options_.slots, " slots",
           endpoint_ ? absl::StrCat(", metrics at ", endpoint_->url(), "/metrics") : "");
  if (options_.ready_file.empty()) return;
  ReadyFile ready;
  ready.pid = ::getpid();
  if (endpoint_) ready.metrics = endpoint_->address();
  if (absl::Status s = write_ready_file(options_.ready_file, ready); !s.ok()) fatal_ = s;
}

}  // namespace galleon
