// Inputs that have to lie on this machine, brought from object stores before anything is read.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/storage/local_copy.h"

namespace galleon {

class BroughtInputs {
 public:
  // Puts folders of this machine in the place of addresses in tokenizer, model.source and data.chat_template. Errors
  // name the key.
  static absl::StatusOr<BroughtInputs> bring(RunOptions& options, CopiedWeights weights);

  // The status in the words of the job file: with addresses where it names their copies.
  absl::Status told(const absl::Status& status) const;

 private:
  absl::Status bring_one(std::string& place, CopiedWeights weights, const std::string& key);

  std::vector<std::pair<std::string, std::string>> copies_;  // of what; empty where nothing was brought
};

}  // namespace galleon
