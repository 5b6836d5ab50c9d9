#include "worker/engine/run/agreement.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace galleon {

absl::Status agree(Communicator& communicator, const absl::Status& own) {
  // OK tells nothing; an error may have no words.
  const std::vector<std::string> told =
      communicator.all_gather_text(own.ok() ? "" : absl::StrCat("failed: ", own.message()));
  RETURN_IF_ERROR(own);
  RETURN_IF_ERROR(communicator.status());
  for (size_t rank = 0; rank < told.size(); ++rank)
    if (!told[rank].empty()) return absl::UnavailableError(absl::StrCat("rank ", rank, " ", told[rank]));
  return absl::OkStatus();
}

}  // namespace galleon
