#include "worker/engine/run/initial_weights.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/model/lora.h"
#include "worker/engine/run/agreement.h"

namespace galleon {

namespace {

absl::Status load_folder(const RunOptions& options, const ResolvedJob& job, Engine& engine, Device& device,
                         Communicator& communicator, RunObserver& observer) {
  // The classifier of an encoder may be new: what the folder does not have stays at random.
  std::vector<std::string> fresh;
  const bool encoder = job.config.encoder();
  RETURN_IF_ERROR(agree(communicator, load_weights(options.model.source, engine.parameters(), device,
                                                   encoder ? &fresh : nullptr, job.grown_from)));
  if (job.grown_from > 0) {
    observer.stage("initialise", absl::StrCat(job.config.vocabulary - job.grown_from,
                                              " new tokens begin as the mean of the folder's ", job.grown_from));
  }
  if (!fresh.empty()) observer.stage("initialise", absl::StrCat("random ", absl::StrJoin(fresh, ", ")));
  return absl::OkStatus();
}

}  // namespace

absl::Status initialize_model(const RunOptions& options, const ResolvedJob& job, Engine& engine, Device& device,
                              Communicator& communicator, RunObserver& observer) {
  const bool pretrained = options.model.pretrained;
  observer.stage("initialise", pretrained ? absl::StrCat("weights of ", options.model.name()) : "random weights");
  if (!pretrained || job.config.encoder())
    initialize_weights(engine.parameters(), device, options.model.seed, job.config.initializer_range);
  if (pretrained) RETURN_IF_ERROR(load_folder(options, job, engine, device, communicator, observer));
  if (options.optimizer.lora.has_value())
    initialize_adapters(engine.parameters(), device, options.optimizer.lora->seed);
  return absl::OkStatus();
}

}  // namespace galleon
