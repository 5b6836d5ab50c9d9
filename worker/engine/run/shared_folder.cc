#include "worker/engine/run/shared_folder.h"

#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/files.h"
#include "common/base/ids.h"

namespace galleon {

namespace {

// A network file system may show a new file a moment later.
constexpr absl::Duration kPatience = absl::Seconds(3);

bool sees(const std::string& path, const std::string& text) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (read_file(path).value_or("") != text) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(50));
  }
  return true;
}

}  // namespace

absl::Status check_shared_folder(const std::string& folder, const std::string& what, Communicator& communicator) {
  if (communicator.ranks() == 1) return absl::OkStatus();
  const bool first = communicator.rank() == 0;
  // Rank 0 tells the name of a file and what is in it, or why there is none.
  const std::string word = random_hex(16);
  const std::string name = absl::StrCat(".shared-", word.substr(0, 8));
  absl::Status written;
  if (first) {
    written = make_folders(folder);
    if (written.ok()) written = write_file_atomically(absl::StrCat(folder, "/", name), word);
  }
  const std::string told =
      communicator.all_gather_text(first ? (written.ok() ? word : absl::StrCat("!", written.message())) : "")[0];
  if (!communicator.status().ok()) return communicator.status();
  if (!told.empty() && told[0] == '!') {
    return absl::FailedPreconditionError(absl::StrCat("rank 0 cannot write to ", what, ": ", told.substr(1)));
  }
  const std::string path = absl::StrCat(folder, "/.shared-", told.substr(0, 8));
  const std::vector<std::string> seen = communicator.all_gather_text(sees(path, told) ? "" : folder);
  if (first) {
    std::error_code error;
    std::filesystem::remove(path, error);
  }
  if (!communicator.status().ok()) return communicator.status();
  for (size_t rank = 0; rank < seen.size(); ++rank) {
    if (seen[rank].empty()) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", rank, " does not see in ", seen[rank],
                     " what rank 0 writes to the checkpoint directory; it must be one folder that all ranks share"));
  }
  return absl::OkStatus();
}

}  // namespace galleon
