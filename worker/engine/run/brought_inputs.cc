#include "worker/engine/run/brought_inputs.h"

#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"

namespace galleon {

absl::Status BroughtInputs::bring_one(std::string& place, CopiedWeights weights, const std::string& key) {
  ASSIGN_OR_RETURN(std::string here, on_this_machine(place, weights, key));
  if (here != place) copies_.emplace_back(here, place);
  place = std::move(here);
  return absl::OkStatus();
}

absl::StatusOr<BroughtInputs> BroughtInputs::bring(RunOptions& options, CopiedWeights weights) {
  BroughtInputs brought;
  const CopiedWeights wanted = options.model.pretrained ? weights : CopiedWeights::kNone;
  const std::string given = options.model.source;
  RETURN_IF_ERROR(brought.bring_one(options.model.source, wanted, "model.source"));
  if (options.model.source != given) options.model.given_as = given;
  RETURN_IF_ERROR(brought.bring_one(options.tokenizer, CopiedWeights::kNone, "tokenizer"));
  RETURN_IF_ERROR(brought.bring_one(options.data.chat_template, CopiedWeights::kNone, "data.chat_template"));
  return brought;
}

absl::Status BroughtInputs::told(const absl::Status& status) const {
  if (status.ok()) return status;
  absl::Status told(status.code(), absl::StrReplaceAll(status.message(), copies_));
  status.ForEachPayload([&told](absl::string_view type, const absl::Cord& payload) { told.SetPayload(type, payload); });
  return told;
}

}  // namespace galleon
