// Any text as a job file: it is refused, or written and read again it is the same job.
#include <google/protobuf/util/message_differencer.h>

#include "proto/jobfile/jobfile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<galleon::v1::Job> job = galleon::parse_job(text, "job.yaml", "/folder");
  if (!job.ok()) {
    if (job.status().message().empty()) __builtin_trap();
    return 0;
  }
  const absl::StatusOr<galleon::v1::Job> again =
      galleon::parse_job(galleon::job_to_yaml(*job), "written.yaml", "/folder");
  if (!again.ok() || !google::protobuf::util::MessageDifferencer::Equals(*again, *job)) __builtin_trap();
  return 0;
}
