#include "worker/engine/ranks/nccl_api.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>

#include <cstring>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "kernels/cuda/status.h"

namespace galleon {

namespace {

// NCCL's functions, out of the library of this machine: a run on one GPU needs none of it.
struct Nccl {
  decltype(&ncclGetVersion) get_version;
  decltype(&ncclGetErrorString) get_error_string;
  decltype(&ncclGetLastError) get_last_error;
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRankConfig) init;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclSend) send;
  decltype(&ncclRecv) receive;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclCommFinalize) finalize;
  decltype(&ncclCommDestroy) destroy;

  // Stays loaded until the process ends: it has threads of its own.
  static absl::StatusOr<Nccl> load() {
    void* library = ::dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      return absl::UnavailableError(absl::StrCat("ranks on GPUs need NCCL, which cannot be loaded (", ::dlerror(),
                                                 "); install it (package libnccl2), or use resources.device: cpu"));
    }
    Nccl found;
    std::string missing;
    const auto find = [&](const char* symbol, auto& function) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, symbol));
      if (function == nullptr) missing = symbol;
    };
    find("ncclGetVersion", found.get_version);
    find("ncclGetErrorString", found.get_error_string);
    find("ncclGetLastError", found.get_last_error);
    find("ncclGetUniqueId", found.get_unique_id);
    find("ncclCommInitRankConfig", found.init);
    find("ncclCommGetAsyncError", found.async_error);
    find("ncclGroupStart", found.group_start);
    find("ncclGroupEnd", found.group_end);
    find("ncclSend", found.send);
    find("ncclRecv", found.receive);
    find("ncclCommAbort", found.abort);
    find("ncclCommFinalize", found.finalize);
    find("ncclCommDestroy", found.destroy);
    if (!missing.empty()) {
      return absl::UnavailableError(
          absl::StrCat("the NCCL of this machine is too old, it has no ", missing, "; 2.14 or newer is needed"));
    }
    return found;
  }

  // InProgress is no error: communicators do not block. A failed device may show here before it shows in an operation:
  // the runtime knows, and is asked without waiting for streams, on which NCCL itself may hang.
  absl::Status status(ncclResult_t result, const char* call, cudaStream_t compute) const {
    if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
    cuda::end_if_device_failed(cudaStreamQuery(compute), call);
    return absl::InternalError(absl::StrCat(call, ": ", get_error_string(result)));
  }
};

absl::Status cuda_status(cudaError_t error, const char* call) {
  cuda::end_if_device_failed(error, call);
  return cuda::to_status(error, call);
}

ncclComm_t comm_of(NcclApi::Comm comm) {
  return static_cast<ncclComm_t>(comm);
}
cudaEvent_t event_of(NcclApi::Event event) {
  return static_cast<cudaEvent_t>(event);
}

class RealNccl final : public NcclApi {
 public:
  RealNccl(const Nccl& nccl, cudaStream_t compute) : nccl_(nccl), compute_(compute) {}

  absl::StatusOr<std::string> unique_id() override {
    ncclUniqueId id;
    RETURN_IF_ERROR(told(nccl_.get_unique_id(&id), "ncclGetUniqueId"));
    return std::string(id.internal, sizeof(id.internal));
  }

  absl::StatusOr<Comm> begin_init(int rank, int ranks, const std::string& id) override {
    ncclUniqueId unique;
    if (id.size() != sizeof(unique.internal)) return absl::InvalidArgumentError("this is no id of NCCL's");
    std::memcpy(unique.internal, id.data(), id.size());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    const absl::Status s = told(nccl_.init(&comm, ranks, unique, rank, &config), "ncclCommInitRankConfig");
    if (!s.ok()) return s;
    return static_cast<Comm>(comm);
  }

  absl::Status state(Comm comm) override {
    ncclResult_t result = ncclSuccess;
    RETURN_IF_ERROR(told(nccl_.async_error(comm_of(comm), &result), "ncclCommGetAsyncError"));
    if (result == ncclInProgress) return absl::UnavailableError("under way");
    if (result == ncclSuccess) return absl::OkStatus();
    cuda::end_if_device_failed(cudaStreamQuery(compute_), "NCCL");
    return absl::InternalError(absl::StrCat(nccl_.get_error_string(result), ": ", nccl_.get_last_error(comm_of(comm))));
  }

  absl::Status group_start() override { return told(nccl_.group_start(), "ncclGroupStart"); }
  absl::Status send(Comm comm, const void* data, int64_t bytes, int to, Stream stream) override {
    return told(nccl_.send(data, static_cast<size_t>(bytes), ncclInt8, to, comm_of(comm), stream_of(stream)),
                "ncclSend");
  }
  absl::Status receive(Comm comm, void* data, int64_t bytes, int from, Stream stream) override {
    return told(nccl_.receive(data, static_cast<size_t>(bytes), ncclInt8, from, comm_of(comm), stream_of(stream)),
                "ncclRecv");
  }
  absl::Status group_end() override { return told(nccl_.group_end(), "ncclGroupEnd"); }
  void abort(Comm comm) override { nccl_.abort(comm_of(comm)); }
  void destroy(Comm comm) override {
    ncclResult_t result = nccl_.finalize(comm_of(comm));
    while (result == ncclInProgress) {
      if (nccl_.async_error(comm_of(comm), &result) != ncclSuccess) break;
    }
    result == ncclSuccess ? nccl_.destroy(comm_of(comm)) : nccl_.abort(comm_of(comm));
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
    RETURN_IF_ERROR(cuda_status(error, "cudaEventQuery"));
    return true;
  }

 private:
  absl::Status told(ncclResult_t result, const char* call) const { return nccl_.status(result, call, compute_); }
  cudaStream_t stream_of(Stream stream) const {
    return stream != nullptr ? static_cast<cudaStream_t>(stream) : compute_;
  }

  const Nccl nccl_;
  const cudaStream_t compute_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NcclApi>> make_nccl_api(void* compute_stream) {
  absl::StatusOr<Nccl> nccl = Nccl::load();
  if (!nccl.ok()) return nccl.status();
  return std::make_unique<RealNccl>(*nccl, static_cast<cudaStream_t>(compute_stream));
}

}  // namespace galleon
