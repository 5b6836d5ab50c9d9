#include "worker/engine/dist/nccl_api.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstring>

#include "absl/strings/str_cat.h"

namespace galleon {

namespace {

// InProgress is no error: communicators do not block.
absl::Status nccl_status(ncclResult_t result, const char* call) {
  if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(call, ": ", ncclGetErrorString(result)));
}

absl::Status cuda_status(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(call, ": ", cudaGetErrorString(error)));
}

ncclComm_t comm_of(NcclApi::Comm comm) {
  return static_cast<ncclComm_t>(comm);
}
cudaStream_t stream_of(NcclApi::Stream stream) {
  return static_cast<cudaStream_t>(stream);
}
cudaEvent_t event_of(NcclApi::Event event) {
  return static_cast<cudaEvent_t>(event);
}

class RealNccl final : public NcclApi {
 public:
  absl::StatusOr<std::string> unique_id() override {
    ncclUniqueId id;
    if (absl::Status s = nccl_status(ncclGetUniqueId(&id), "ncclGetUniqueId"); !s.ok()) return s;
    return std::string(id.internal, sizeof(id.internal));
  }

  absl::StatusOr<Comm> begin_init(int rank, int ranks, const std::string& id) override {
    ncclUniqueId unique;
    if (id.size() != sizeof(unique.internal)) return absl::InvalidArgumentError("this is no id of NCCL's");
    std::memcpy(unique.internal, id.data(), id.size());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    const absl::Status s =
        nccl_status(ncclCommInitRankConfig(&comm, ranks, unique, rank, &config), "ncclCommInitRankConfig");
    if (!s.ok()) return s;
    return static_cast<Comm>(comm);
  }

  absl::Status state(Comm comm) override {
    ncclResult_t result = ncclSuccess;
    if (absl::Status s = nccl_status(ncclCommGetAsyncError(comm_of(comm), &result), "ncclCommGetAsyncError"); !s.ok())
      return s;
    if (result == ncclInProgress) return absl::UnavailableError("under way");
    if (result == ncclSuccess) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(ncclGetErrorString(result), ": ", ncclGetLastError(comm_of(comm))));
  }

  absl::Status group_start() override { return nccl_status(ncclGroupStart(), "ncclGroupStart"); }
  absl::Status send(Comm comm, const void* data, int64_t bytes, int to, Stream stream) override {
    return nccl_status(ncclSend(data, static_cast<size_t>(bytes), ncclInt8, to, comm_of(comm), stream_of(stream)),
                       "ncclSend");
  }
  absl::Status receive(Comm comm, void* data, int64_t bytes, int from, Stream stream) override {
    return nccl_status(ncclRecv(data, static_cast<size_t>(bytes), ncclInt8, from, comm_of(comm), stream_of(stream)),
                       "ncclRecv");
  }
  absl::Status group_end() override { return nccl_status(ncclGroupEnd(), "ncclGroupEnd"); }
  void abort(Comm comm) override { ncclCommAbort(comm_of(comm)); }
  void destroy(Comm comm) override {
    ncclResult_t result = ncclCommFinalize(comm_of(comm));
    while (result == ncclInProgress) {
      if (ncclCommGetAsyncError(comm_of(comm), &result) != ncclSuccess) break;
    }
    result == ncclSuccess ? ncclCommDestroy(comm_of(comm)) : ncclCommAbort(comm_of(comm));
  }

  absl::StatusOr<Stream> create_stream() override {
    cudaStream_t stream = nullptr;
    // Communication waits for little and should begin at once: before what computes.
    int least = 0;
    int greatest = 0;
    cudaDeviceGetStreamPriorityRange(&least, &greatest);
    const absl::Status s = cuda_status(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, greatest),
                                       "cudaStreamCreateWithPriority");
    if (!s.ok()) return s;
    return static_cast<Stream>(stream);
  }
  void destroy_stream(Stream stream) override { cudaStreamDestroy(stream_of(stream)); }
  absl::StatusOr<Event> create_event() override {
    cudaEvent_t event = nullptr;
    const absl::Status s =
        cuda_status(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    if (!s.ok()) return s;
    return static_cast<Event>(event);
  }
  void destroy_event(Event event) override { cudaEventDestroy(event_of(event)); }
  absl::Status record(Event event, Stream stream) override {
    return cuda_status(cudaEventRecord(event_of(event), stream_of(stream)), "cudaEventRecord");
  }
  absl::Status wait(Stream stream, Event event) override {
    return cuda_status(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0), "cudaStreamWaitEvent");
  }
  absl::StatusOr<bool> done(Event event) override {
    const cudaError_t error = cudaEventQuery(event_of(event));
    if (error == cudaErrorNotReady) return false;
    if (absl::Status s = cuda_status(error, "cudaEventQuery"); !s.ok()) return s;
    return true;
  }
};

}  // namespace

std::unique_ptr<NcclApi> make_nccl_api() {
  return std::make_unique<RealNccl>();
}

}  // namespace galleon
