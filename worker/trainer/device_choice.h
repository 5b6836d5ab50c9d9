// Which device a process computes on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "galleon/v1/job.pb.h"
#include "kernels/device.h"

namespace galleon {

struct DeviceRequest {
  v1::Resources::Device wanted = v1::Resources::DEVICE_AUTO;
  int local_rank = 0;   // among the processes of this run on this machine: each takes the GPU of its number
  int local_ranks = 1;  // so many GPUs it takes for `auto` to mean them
  int threads = 0;      // of the CPU device; 0: all cores
};

// "cpu" or "cuda": what the request comes to here. `auto` is a GPU for each rank, or the CPU where there are not so
// many or this build has no CUDA; `why` then says so in a sentence, if it is not null.
std::string device_kind(const DeviceRequest& request, std::string* why = nullptr);

// What this process computes with, for the first line of its log: the processor, its instruction set and what each
// library made of it, as "processor"; then a "warning" for each library that has chosen less than the processor has.
void tell_processor(const std::function<void(const std::string& what, const std::string& text)>& tell);

// UNAVAILABLE: no sound GPU of that number. UNIMPLEMENTED: a build without CUDA was asked for one.
absl::StatusOr<std::unique_ptr<Device>> open_device(const DeviceRequest& request);

// "auto", "cpu" or "cuda", as options have it; nothing else is accepted.
v1::Resources::Device device_of_word(const std::string& word);

}  // namespace galleon
