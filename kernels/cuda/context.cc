#include "kernels/cuda/context.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "kernels/cuda/context_state.h"
#include "kernels/cuda/launch_text.h"
#include "kernels/cuda/status.h"
#include "kernels/ops/index_check.h"

namespace galleon::cuda {

namespace {

constexpr size_t kResultBytes = 64;
constexpr size_t kSharedWithoutAsking = size_t{48} << 10;
// No launch takes longer on any card; what does hangs.
constexpr std::chrono::seconds kLongestLaunch{20};

bool wants_waits() {
  const char* word = std::getenv("GALLEON_CUDA_SYNCHRONOUS");
  return word != nullptr && *word != '\0' && absl::string_view(word) != "0";
}

std::string text_of(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes) {
  const char* symbol = nullptr;
  if (cudaFuncGetName(&symbol, kernel) != cudaSuccess) symbol = "of no name";
  return launch_text(symbol, grid, block, shared_bytes);
}

absl::StatusOr<DeviceMemory> device_memory(size_t bytes) {
  void* data = nullptr;
  RETURN_IF_ERROR(to_status(cudaMalloc(&data, bytes), "cudaMalloc"));
  return DeviceMemory(data);
}

}  // namespace

absl::Status Staging::open() {
  for (Piece& piece : pieces_) {
    void* data = nullptr;
    absl::Status s = to_status(cudaHostAlloc(&data, kPieceBytes, cudaHostAllocDefault), "cudaHostAlloc");
    if (!s.ok()) return s;
    piece.memory.reset(data);
    cudaEvent_t event = nullptr;
    s = to_status(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    if (!s.ok()) return s;
    piece.free.reset(event);
  }
  return absl::OkStatus();
}

// The piece whose turn it is, once the copy that used it last is done. An event that was never recorded counts as done.
Staging::Piece& Staging::next() {
  Piece& piece = pieces_[turn_];
  turn_ = 1 - turn_;
  require(cudaEventSynchronize(piece.free.get()), "cudaEventSynchronize");
  return piece;
}

void Staging::upload(cudaStream_t stream, void* on_device, const void* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    const size_t count = std::min(kPieceBytes, bytes - at);
    Piece& piece = next();
    std::memcpy(piece.memory.get(), static_cast<const char*>(from) + at, count);
    require(
        cudaMemcpyAsync(static_cast<char*>(on_device) + at, piece.memory.get(), count, cudaMemcpyHostToDevice, stream),
        "cudaMemcpyAsync to the GPU");
    require(cudaEventRecord(piece.free.get(), stream), "cudaEventRecord");
  }
}

void Staging::download(cudaStream_t stream, void* to, const void* on_device, size_t bytes) {
  const auto begin = [&](size_t at) -> Piece* {
    if (at >= bytes) return nullptr;
    Piece& piece = next();
    require(cudaMemcpyAsync(piece.memory.get(), static_cast<const char*>(on_device) + at,
                            std::min(kPieceBytes, bytes - at), cudaMemcpyDeviceToHost, stream),
            "cudaMemcpyAsync from the GPU");
    require(cudaEventRecord(piece.free.get(), stream), "cudaEventRecord");
    return &piece;
  };
  Piece* coming = begin(0);
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    Piece* here = coming;
    coming = begin(at + kPieceBytes);
    require(cudaEventSynchronize(here->free.get()), "cudaEventSynchronize");
    std::memcpy(static_cast<char*>(to) + at, here->memory.get(), std::min(kPieceBytes, bytes - at));
  }
}

absl::StatusOr<std::unique_ptr<Context>> Context::open(int index) {
  int count = 0;
  RETURN_IF_ERROR(to_status(cudaGetDeviceCount(&count), "cudaGetDeviceCount"));
  if (index < 0 || index >= count) {
    return absl::UnavailableError(absl::StrCat("there is no GPU ", index, " here; this process sees ", count,
                                               count == 1 ? " GPU" : " GPUs", ", numbered from 0"));
  }
  auto context = std::make_unique<Context>();
  context->index = index;
  context->synchronous = wants_waits();
  RETURN_IF_ERROR(to_status(cudaSetDevice(index), "cudaSetDevice"));
  cudaStream_t stream = nullptr;
  absl::Status s = to_status(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  if (!s.ok()) return s;
  context->stream.reset(stream);
  if (s = context->staging.open(); !s.ok()) return s;
  ASSIGN_OR_RETURN(context->result, device_memory(kResultBytes));
  // Mapped, so that a kernel that meets a bad index writes it straight into the host's memory and nothing has to be
  // copied where there is none.
  void* note = nullptr;
  if (s = to_status(cudaHostAlloc(&note, sizeof(OutsideNote), cudaHostAllocMapped), "cudaHostAlloc"); !s.ok()) return s;
  context->note.reset(note);
  *static_cast<OutsideNote*>(note) = OutsideNote{};

  cublasLtHandle_t blas_lt = nullptr;
  if (s = to_status(cublasLtCreate(&blas_lt), "cublasLtCreate"); !s.ok()) return s;
  context->blas_lt.reset(blas_lt);
  cublasHandle_t blas = nullptr;
  if (s = to_status(cublasCreate(&blas), "cublasCreate"); !s.ok()) return s;
  context->blas.reset(blas);
  if (s = to_status(cublasSetStream(blas, stream), "cublasSetStream"); !s.ok()) return s;
  ASSIGN_OR_RETURN(context->blas_workspace, device_memory(kBlasWorkspaceBytes));
  s = to_status(cublasSetWorkspace(blas, context->blas_workspace.get(), kBlasWorkspaceBytes), "cublasSetWorkspace");
  if (!s.ok()) return s;

  cusolverDnHandle_t solver = nullptr;
  if (s = to_status(cusolverDnCreate(&solver), "cusolverDnCreate"); !s.ok()) return s;
  context->solver.reset(solver);
  if (s = to_status(cusolverDnSetStream(solver, stream), "cusolverDnSetStream"); !s.ok()) return s;
  cusolverDnParams_t parameters = nullptr;
  if (s = to_status(cusolverDnCreateParams(&parameters), "cusolverDnCreateParams"); !s.ok()) return s;
  context->solver_parameters.reset(parameters);
  return context;
}

void Context::use() const {
  require(cudaSetDevice(index), "cudaSetDevice");
}

void Context::settle(absl::FunctionRef<std::string()> what) const {
  if (!synchronous) return;
  const auto until = std::chrono::steady_clock::now() + kLongestLaunch;
  cudaError_t state = cudaStreamQuery(stream.get());
  while (state == cudaErrorNotReady) {
    GALLEON_CHECK(std::chrono::steady_clock::now() < until)
        << what() << ": it has not ended after " << kLongestLaunch.count() << " s";
    std::this_thread::sleep_for(std::chrono::microseconds(20));
    state = cudaStreamQuery(stream.get());
  }
  if (state != cudaSuccess) require(state, what().c_str());
}

cudaStream_t stream_of(Context& context) {
  return context.stream.get();
}

void* result_memory(Context& context) {
  return context.result.get();
}

OutsideNote* note_memory(Context& context) {
  return static_cast<OutsideNote*>(context.note.get());
}

void launch_on(Context& context, const void* kernel, dim3 grid, dim3 block, void** arguments, size_t shared_bytes) {
  if (shared_bytes > kSharedWithoutAsking && context.large_kernels.insert(kernel).second) {
    int most = 0;
    require(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, context.index),
            "cudaDeviceGetAttribute");
    cudaFuncAttributes held{};
    require(cudaFuncGetAttributes(&held, kernel), "cudaFuncGetAttributes");
    require(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 most - static_cast<int>(held.sharedSizeBytes)),
            "cudaFuncSetAttribute");
  }
  const cudaError_t launched = cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, context.stream.get());
  if (launched != cudaSuccess) require(launched, text_of(kernel, grid, block, shared_bytes).c_str());
  context.settle([&] { return text_of(kernel, grid, block, shared_bytes); });
}

void download_now(Context& context, void* to, const void* on_device, size_t bytes) {
  context.staging.download(context.stream.get(), to, on_device, bytes);
  const OutsideNote& note = *note_memory(context);
  GALLEON_CHECK(!note.found) << outside_text(note.range, note.index, note.value);
}

void upload_now(Context& context, void* on_device, const void* from, size_t bytes) {
  context.staging.upload(context.stream.get(), on_device, from, bytes);
}

}  // namespace galleon::cuda
