#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "worker/engine/dist/communicator.h"

namespace galleon {

namespace {

class FolderRendezvous final : public Rendezvous {
 public:
  explicit FolderRendezvous(std::string folder) : folder_(std::move(folder)) {}

  absl::StatusOr<std::vector<std::string>> exchange(int rank, int ranks, const std::string& payload,
                                                    absl::Duration timeout) override {
    if (absl::Status s = make_folders(folder_); !s.ok()) return s;
    if (absl::Status s = write_file_atomically(path(rank), payload); !s.ok()) return s;
    const absl::Time deadline = absl::Now() + timeout;
    std::vector<std::string> all(ranks);
    for (int other = 0; other < ranks; ++other) {
      while (true) {
        absl::StatusOr<std::string> content = read_file(path(other));
        if (content.ok()) {
          all[other] = *std::move(content);
          break;
        }
        if (absl::Now() > deadline) {
          return absl::UnavailableError(absl::StrCat("rank ", other, " of ", ranks, " did not come to ", folder_,
                                                     " within ", absl::FormatDuration(timeout)));
        }
        absl::SleepFor(absl::Milliseconds(10));
      }
    }
    return all;
  }

 private:
  std::string path(int rank) const { return absl::StrCat(folder_, "/rank-", rank); }
  std::string folder_;
};

}  // namespace

std::unique_ptr<Rendezvous> make_folder_rendezvous(std::string folder) {
  return std::make_unique<FolderRendezvous>(std::move(folder));
}

}  // namespace galleon
