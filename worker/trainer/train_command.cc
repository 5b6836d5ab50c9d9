#include "worker/trainer/train_command.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/bounded_text.h"
#include "common/base/device_failure.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "kernels/cuda/devices.h"
#include "worker/engine/ranks/nccl_communicator.h"
#include "worker/engine/ranks/socket_communicator.h"
#include "worker/engine/run/brought_inputs.h"
#include "worker/engine/run/finite.h"
#include "worker/engine/run/options_from_job.h"
#include "worker/engine/run/training.h"
#include "worker/trainer/control_socket.h"
#include "worker/trainer/device_choice.h"
#include "worker/trainer/events.h"
#include "worker/trainer/failure_kind.h"
#include "worker/trainer/resolve.h"
#include "worker/trainer/stop_signals.h"

namespace galleon {

namespace {

constexpr size_t kLeastSecret = 16;

class LocalObserver final : public EventObserver {
 public:
  using EventObserver::EventObserver;
  absl::Status approve_checkpoint(int64_t, const std::string&) override { return absl::OkStatus(); }
  std::optional<std::string> stop_requested() override {
    return stop_signalled() ? std::optional<std::string>("interrupted") : std::nullopt;
  }
};

class ServiceObserver final : public EventObserver {
 public:
  ServiceObserver(ControlSocket& control, int rank, int ranks)
      : EventObserver(control, rank, ranks), control_(control) {}
  absl::Status approve_checkpoint(int64_t step, const std::string& folder) override {
    return control_.wait_for_decision(step, folder);
  }
  std::optional<std::string> stop_requested() override {
    if (std::optional<std::string> reason = control_.stop_requested()) return reason;
    return stop_signalled() ? std::optional<std::string>("interrupted") : std::nullopt;
  }

 private:
  ControlSocket& control_;
};

// What local and service runs share once they know how to speak to others.
struct Ground {
  v1::Job job;
  std::string output;
  int rank = 0;
  int ranks = 1;
  DeviceRequest device;
  std::string interface;
  absl::Duration meeting_timeout = absl::Seconds(60);
  // A slot of a worker is that device and no other: if it cannot be opened, the device has failed and not the job.
  bool device_is_given = false;
  RunContext context;
};

absl::StatusOr<std::unique_ptr<Device>> open_device_of(const Ground& ground) {
  absl::StatusOr<std::unique_ptr<Device>> device = open_device(ground.device);
  const bool lacking = absl::IsUnavailable(device.status()) || absl::IsUnimplemented(device.status());
  if (ground.device_is_given && lacking) end_with_device_failure(device.status().message());
  return device;
}

absl::StatusOr<RunResult> train(const Ground& ground, Rendezvous* rendezvous, RunObserver& observer) {
  if (device_kind(ground.device) == "cpu")
    tell_processor([&](const std::string& what, const std::string& text) { observer.stage(what, text); });
  RunOptions options = options_from_job(ground.job, ground.output);
  RETURN_IF_ERROR(make_folders(ground.output));
  ASSIGN_OR_RETURN(const BroughtInputs brought, BroughtInputs::bring(options, CopiedWeights::kAll));
  absl::StatusOr<ResolvedJob> found = resolve_job(options);
  if (!found.ok()) return brought.told(found.status());
  ResolvedJob& resolved = *found;
  RETURN_IF_ERROR(check_shape(ground.job, resolved.config));
  // The resolved shape belongs to the mathematics, whether the job file came with it or not.
  v1::Job complete = ground.job;
  *complete.mutable_shape() = shape_message(resolved.config);
  options.mathematics = mathematics_of(complete);

  ASSIGN_OR_RETURN(std::unique_ptr<Device> opened, open_device_of(ground));
  const std::unique_ptr<Device> device = std::move(opened);
  device->ledger().set_limit(options.memory_limit);
  const bool on_gpu = device->kind() == "cuda";
  // Ranks on different kinds of devices do not compute the same thing.
  complete.mutable_resources()->set_device(on_gpu ? v1::Resources::DEVICE_CUDA : v1::Resources::DEVICE_CPU);
  std::unique_ptr<NcclApi> nccl;
  std::unique_ptr<Communicator> communicator;
  if (ground.ranks == 1) {
    communicator = make_single_communicator(*device);
  } else {
    observer.stage("rendezvous", absl::StrCat("waiting for ", ground.ranks, " ranks"));
    SocketOptions sockets;
    sockets.hang_timeout = absl::Seconds(options.hang_timeout);
    sockets.meeting_timeout = ground.meeting_timeout;
    if (!ground.interface.empty()) sockets.interface = ground.interface;
    // Also what need not agree for the same result must agree between ranks that work together: how a batch is cut,
    // what is sharded, where checkpoints are.
    ASSIGN_OR_RETURN(communicator, make_socket_communicator(*device, ground.rank, ground.ranks, *rendezvous,
                                                            {GALLEON_VERSION, job_lines(complete)}, sockets));
    if (on_gpu) {
      ASSIGN_OR_RETURN(nccl, make_nccl_api(compute_stream(*device)));
      NcclOptions over_nccl;
      over_nccl.hang_timeout = sockets.hang_timeout;
      ASSIGN_OR_RETURN(communicator, make_nccl_communicator(*device, std::move(communicator), *nccl, over_nccl));
    }
  }
  absl::StatusOr<RunResult> result = run_training(options, resolved, *device, *communicator, ground.context, observer);
  if (!result.ok()) return brought.told(result.status());
  return result;
}

v1::Resources::Device wanted_device(const v1::Job& job) {
  return job.resources().has_device() ? job.resources().device() : v1::Resources::DEVICE_AUTO;
}

v1::Finished finished_message(const absl::StatusOr<RunResult>& result) {
  v1::Finished finished;
  if (!result.ok()) {
    finished.set_outcome(v1::Finished::FAILED);
    finished.set_message(bounded_text(result.status().message()));
    finished.set_permanent(is_permanent(result.status()));
    finished.set_place_fault(place_fault_of(result.status()));
    finished.set_diverged(result.status().GetPayload(kDivergedPayload).has_value());
    return finished;
  }
  finished.set_outcome(result->stopped ? v1::Finished::STOPPED : v1::Finished::SUCCEEDED);
  finished.set_message(result->stopped ? absl::StrCat("stopped after step ", result->step, ": ", result->stop_reason)
                                       : absl::StrCat("all ", result->step, " steps are done"));
  if (!result->unsent.empty()) absl::StrAppend(finished.mutable_message(), "; ", result->unsent);
  finished.set_bad_rows(static_cast<uint64_t>(result->bad_rows));
  if (result->bad_rows > 0) absl::StrAppend(finished.mutable_message(), ", ", result->bad_rows, " bad rows skipped");
  finished.set_step(result->step);
  finished.set_train_loss(result->train_loss);
  if (result->evaluation.has_value()) *finished.mutable_evaluation() = to_message(*result->evaluation);
  return finished;
}

// A word with a colon and no slash is an address.
absl::StatusOr<std::unique_ptr<Rendezvous>> open_rendezvous(const LocalRank& rank) {
  const std::string& where = rank.rendezvous;
  const bool address = absl::StrContains(where, ':') && !absl::StrContains(where, '/');
  if (!address) return make_folder_rendezvous(where);
  absl::StatusOr<std::string> secret = read_file(rank.secret_file);
  if (!secret.ok())
    return absl::InvalidArgumentError(
        absl::StrCat("a secret is needed to meet at ", where, ": ", secret.status().message()));
  const std::string line = secret->substr(0, secret->find('\n'));
  if (line.size() < kLeastSecret) {
    return absl::InvalidArgumentError(absl::StrCat(rank.secret_file, " must begin with a line of at least ",
                                                   kLeastSecret, " characters, such as `openssl rand -hex 16` prints"));
  }
  return make_address_rendezvous(where, line);
}

int report_end(const v1::Finished& finished, EventSink& sink) {
  v1::TrainerEvent event;
  *event.mutable_finished() = finished;
  sink.send(std::move(event));
  if (finished.outcome() != v1::Finished::FAILED) {
    log_info(finished.message());
    return 0;
  }
  log_error(finished.message());
  return finished.permanent() ? 2 : 1;
}

}  // namespace

int train_locally(const v1::Job& job, const LocalRank& rank) {
  keep_stop_signals();
  PipeSink sink(rank.events_fd);
  LocalObserver observer(sink, rank.rank, rank.ranks);
  Ground ground;
  ground.job = job;
  ground.output = rank.output;
  ground.rank = rank.rank;
  ground.ranks = rank.ranks;
  ground.device = {wanted_device(job), rank.local_rank >= 0 ? rank.local_rank : rank.rank,
                   rank.local_ranks > 0 ? rank.local_ranks : rank.ranks, rank.threads};
  ground.interface = rank.interface;
  ground.meeting_timeout = absl::Seconds(rank.meet_within);
  // A local run that died between a checkpoint's last byte and its rename left a folder that no later run must take for
  // its own.
  ground.context.epoch = static_cast<uint64_t>(::getpid());
  ground.context.metrics_path = rank.output + "/metrics.jsonl";
  absl::StatusOr<std::unique_ptr<Rendezvous>> rendezvous = nullptr;
  if (rank.ranks > 1) rendezvous = open_rendezvous(rank);
  if (!rendezvous.ok()) return report_end(finished_message(rendezvous.status()), sink);
  return report_end(finished_message(train(ground, rendezvous->get(), observer)), sink);
}

int train_assignment(const v1::Job& job, const v1::TrainerAssignment& assignment, FileDescriptor socket) {
  keep_stop_signals();
  v1::Hello hello;
  *hello.mutable_id() = assignment.id();
  hello.set_rank(assignment.rank());
  hello.set_pid(::getpid());
  hello.set_version(GALLEON_VERSION);
  absl::StatusOr<std::unique_ptr<ControlSocket>> control =
      ControlSocket::start(std::move(socket), hello, absl::Milliseconds(assignment.initial_lease_milliseconds()));
  if (!control.ok()) {
    log_error(control.status().message());
    return 1;
  }
  const auto rank = static_cast<int>(assignment.rank());
  const auto ranks = static_cast<int>(assignment.ranks());
  ServiceObserver observer(**control, rank, ranks);
  Ground ground;
  ground.job = job;
  ground.output = assignment.job_folder();
  ground.rank = rank;
  ground.ranks = ranks;
  ground.device = {wanted_device(job), 0, 1, static_cast<int>(assignment.threads())};
  if (!assignment.device().empty()) {
    ground.device.wanted = device_of_word(assignment.device());
    ground.device_is_given = true;
    // Before CUDA looks at it for the first time: this process sees its slot's GPU alone, as number 0.
    if (assignment.device() == "cuda") ::setenv("CUDA_VISIBLE_DEVICES", assignment.device_uuid().c_str(), 1);
  }
  ground.interface = assignment.interface();
  ground.context.epoch = assignment.id().epoch();
  ground.context.metrics_path = assignment.job_folder() + "/metrics.jsonl";
  ground.context.tags = {{"galleon.job_id", assignment.id().job_id()},
                         {"galleon.attempt", absl::StrCat(assignment.id().attempt())}};
  ground.context.resume = {true, static_cast<int64_t>(assignment.resume_step()), assignment.resume_epoch()};
  ground.context.shared_caches = {assignment.token_cache_folder(),
                                  static_cast<int64_t>(assignment.token_cache_bytes())};
  const int code = report_end(finished_message(train(ground, control->get(), observer)), **control);
  // The daemon should hear the end from us; if it is away for long, the exit code tells it the same.
  (*control)->drain(absl::Seconds(20));
  return code;
}

}  // namespace galleon
