#include "worker/engine/run/recorded_tokens.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/manifest.h"

namespace galleon {

absl::Status use_recorded_tokens(const std::string& folder, Tokenizer& tokenizer) {
  // Other programs have files of that name too.
  const absl::StatusOr<std::string> manifest = read_to_parse(folder + "/manifest.json");
  if (absl::IsPermissionDenied(manifest.status())) return manifest.status();
  if (!manifest.ok() || !absl::StrContains(*manifest, "\"format_version\"")) return absl::OkStatus();
  ASSIGN_OR_RETURN(const CheckpointHeader header, read_checkpoint_header(folder));
  if (!header.document_tokens.has_value()) return absl::OkStatus();
  const RecordedTokens& recorded = *header.document_tokens;
  for (const int32_t token : {recorded.begin, recorded.end}) {
    if (token < -1 || token >= tokenizer.vocabulary()) {
      return absl::DataLossError(absl::StrCat(folder, "/manifest.json: document_tokens has ", token,
                                              ", and the tokenizer has ", tokenizer.vocabulary(), " tokens"));
    }
  }
  tokenizer.trained_with({recorded.begin, recorded.end});
  return absl::OkStatus();
}

}  // namespace galleon
