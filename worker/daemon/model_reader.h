// Reads the models of jobs that are about to be submitted, and looks for their inputs, in a trainer confined as one
// that trains. One at a time, on a thread of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/process.h"
#include "galleon/v1/workers.pb.h"
#include "worker/daemon/held_rank.h"
#include "worker/daemon/rpc_lane.h"

namespace galleon {

class ModelReader {
 public:
  // `folder`: for short-lived files, made if missing. The results come through `inbox`, which outlives this.
  ModelReader(std::string folder, Inbox& inbox) : folder_(std::move(folder)), inbox_(inbox) {}
  ~ModelReader();

  // All that this worker should read: begins what is new, forgets what is not listed any more. `done` is called on the
  // inbox's thread for each that was read.
  void update(const google::protobuf::RepeatedPtrField<v1::ResolveOrder>& orders, const RankOptions& options,
              const std::function<void()>& done);
  // What is done, as the scheduler hears it.
  void tell(v1::SyncWorkerRequest& request) const;

 private:
  v1::Resolved read(const v1::ResolveOrder& order, const RankOptions& options) const;
  absl::StatusOr<v1::ModelShape> shape_of(const v1::ResolveOrder& order, const RankOptions& options) const;
  // UNAVAILABLE: this daemon ends meanwhile.
  absl::StatusOr<ProcessExit> wait_for(const ProcessId& trainer) const;

  const std::string folder_;
  Inbox& inbox_;
  std::map<uint64_t, std::optional<v1::Resolved>> orders_;  // nullopt: is being read
  std::atomic<bool> ending_ = false;
  RpcLane lane_;
};

}  // namespace galleon
