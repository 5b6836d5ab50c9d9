// Ranks over NCCL: tensors travel between GPUs on a stream of their own, what lives on hosts by sockets.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/ranks/communicator.h"
#include "worker/engine/ranks/nccl_api.h"

namespace galleon {

struct NcclOptions {
  // All ranks have to have begun within this time.
  absl::Duration init_timeout = absl::Minutes(2);
  // An exchange that takes longer fails the run, and what is under way is aborted.
  absl::Duration hang_timeout = absl::Minutes(10);
};

class NcclCommunicator : public Communicator {
 public:
  // Aborts what is under way, forgets the error, and begins anew with all ranks; a collective. What lay in tensors of
  // unfinished operations is undefined.
  virtual absl::Status recreate() = 0;

 protected:
  using Communicator::Communicator;
};

// A collective over `hosts`, which carries NCCL's id and whatever lives on hosts. `api` must outlive the result.
// UNAVAILABLE: not all ranks began in time.
absl::StatusOr<std::unique_ptr<NcclCommunicator>> make_nccl_communicator(Device& device,
                                                                         std::unique_ptr<Communicator> hosts,
                                                                         NcclApi& api, const NcclOptions& options);

}  // namespace galleon
