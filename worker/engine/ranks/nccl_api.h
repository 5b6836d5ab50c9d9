// What the engine uses of NCCL and of CUDA's streams and events, as an interface: so that the communicator over it
// builds without either and its calls can be recorded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace galleon {

class NcclApi {
 public:
  // Handles are NCCL's and CUDA's own pointers.
  using Comm = void*;
  using Stream = void*;  // null: the stream on which the device's operations compute
  using Event = void*;

  virtual ~NcclApi() = default;

  // Drawn by one rank for all.
  virtual absl::StatusOr<std::string> unique_id() = 0;
  // Begins without waiting for the other ranks; state() tells when it is done.
  virtual absl::StatusOr<Comm> begin_init(int rank, int ranks, const std::string& id) = 0;
  // OK: done. UNAVAILABLE: under way. Otherwise what went wrong, also in what was asked for earlier.
  virtual absl::Status state(Comm comm) = 0;
  virtual absl::Status group_start() = 0;
  // Within a group nothing begins before its end; what is sent to one rank arrives in order.
  virtual absl::Status send(Comm comm, const void* data, int64_t bytes, int to, Stream stream) = 0;
  virtual absl::Status receive(Comm comm, void* data, int64_t bytes, int from, Stream stream) = 0;
  virtual absl::Status group_end() = 0;
  // Ends what is under way, also where other ranks hang, and gives everything back.
  virtual void abort(Comm comm) = 0;
  // Completes what is under way and gives everything back; state() must be OK.
  virtual void destroy(Comm comm) = 0;

  virtual absl::StatusOr<Stream> create_stream() = 0;
  virtual void destroy_stream(Stream stream) = 0;
  virtual absl::StatusOr<Event> create_event() = 0;
  virtual void destroy_event(Event event) = 0;
  virtual absl::Status record(Event event, Stream stream) = 0;
  // What is asked of `stream` from now on comes after the event.
  virtual absl::Status wait(Stream stream, Event event) = 0;
  // Whether everything before the event is done.
  virtual absl::StatusOr<bool> done(Event event) = 0;
};

// The real one, whose library is loaded now. `compute_stream`: the device's own, a cudaStream_t. UNAVAILABLE: NCCL is
// not installed; UNIMPLEMENTED: a build without CUDA.
absl::StatusOr<std::unique_ptr<NcclApi>> make_nccl_api(void* compute_stream);

}  // namespace galleon
