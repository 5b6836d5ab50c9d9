// NCCL with one rank: a message to itself, collectives, an abort and a new beginning.
#include <numeric>
#include <vector>

#include "absl/time/clock.h"
#include "kernels/cuda/devices.h"
#include "tests/gpu/suite/parts.h"
#include "tests/gpu/suite/trainee.h"
#include "worker/engine/ranks/nccl_communicator.h"

namespace galleon::gpu {

namespace {

// Sends a tensor to this very rank and looks at what arrives.
absl::Status echo(Device& device, NcclApi& api) {
  absl::StatusOr<std::string> id = api.unique_id();
  if (!id.ok()) return id.status();
  absl::StatusOr<NcclApi::Comm> comm = api.begin_init(0, 1, *id);
  if (!comm.ok()) return comm.status();
  const auto settle = [&] {
    absl::Status state = api.state(*comm);
    for (int i = 0; i < 60'000 && absl::IsUnavailable(state); ++i) {
      absl::SleepFor(absl::Milliseconds(1));
      state = api.state(*comm);
    }
    return state;
  };
  if (absl::Status s = settle(); !s.ok()) return s;
  Arena arena(device);
  const Tensor from = arena.tensor("from", MemoryCategory::kActivations, 1 << 20, 1);
  const Tensor to = arena.tensor("to", MemoryCategory::kActivations, 1 << 20, 1);
  std::vector<float> sent(1 << 20);
  std::iota(sent.begin(), sent.end(), 0.0F);
  device.upload(from, sent.data());
  absl::Status good = api.group_start();
  if (good.ok()) good = api.send(*comm, from.data, from.bytes(), 0, nullptr);
  if (good.ok()) good = api.receive(*comm, to.data, to.bytes(), 0, nullptr);
  if (good.ok()) good = api.group_end();
  if (good.ok()) good = settle();
  if (!good.ok()) {
    api.abort(*comm);
    return good;
  }
  std::vector<float> received(1 << 20);
  device.download(received.data(), to);
  api.destroy(*comm);
  return received == sent ? absl::OkStatus() : absl::InternalError("what arrived is not what was sent");
}

absl::Status collectives(Device& device, NcclApi& api) {
  NcclOptions options;
  absl::StatusOr<std::unique_ptr<NcclCommunicator>> made =
      make_nccl_communicator(device, make_single_communicator(device), api, options);
  if (!made.ok()) return made.status();
  Arena arena(device);
  const Tensor x = arena.tensor("x", MemoryCategory::kGradients, 64, 64);
  for (int round = 0; round < 2; ++round) {
    (*made)->all_reduce(x, Content::kStatistic);
    (*made)->broadcast(x, 0, Content::kStatistic);
    if (!(*made)->status().ok()) return (*made)->status();
    if (absl::Status s = (*made)->recreate(); !s.ok()) return s;
  }
  return (*made)->status();
}

}  // namespace

int nccl(Report& report) {
  absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
  GALLEON_CHECK(device.ok()) << device.status().ToString();
  absl::StatusOr<std::unique_ptr<NcclApi>> api = make_nccl_api(compute_stream(**device));
  if (!api.ok()) {
    std::printf("skipped: %s\n", std::string(api.status().message()).c_str());
    return 0;
  }
  const auto begin = absl::Now();
  const absl::Status echoed = echo(**device, **api);
  report.fact("nccl.message_to_itself", echoed.ok(), absl::ToDoubleSeconds(absl::Now() - begin), "s",
              echoed.ok() ? "" : std::string(echoed.message()));
  const absl::Status collected = collectives(**device, **api);
  report.fact("nccl.init_abort_recreate", collected.ok(), absl::ToDoubleSeconds(absl::Now() - begin), "s",
              collected.ok() ? "" : std::string(collected.message()));
  return report.exit_code();
}

}  // namespace galleon::gpu
