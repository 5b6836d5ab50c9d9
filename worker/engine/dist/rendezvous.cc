#include "worker/engine/dist/rendezvous.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "worker/engine/differing_lines.h"

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
    std::vector<bool> came(ranks, false);
    while (true) {
      std::vector<std::string> missing;
      for (int other = 0; other < ranks; ++other) {
        if (came[other]) continue;
        absl::StatusOr<std::string> content = read_file(path(other));
        came[other] = content.ok();
        if (content.ok()) {
          all[other] = *std::move(content);
        } else {
          missing.push_back(absl::StrCat(other));
        }
      }
      if (missing.empty()) return all;
      if (absl::Now() > deadline) {
        return absl::UnavailableError(absl::StrCat(missing.size() == 1 ? "rank " : "ranks ",
                                                   absl::StrJoin(missing, ", "), " of ", ranks, " did not come to ",
                                                   folder_, " within ", absl::FormatDuration(timeout)));
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

 private:
  std::string path(int rank) const { return absl::StrCat(folder_, "/rank-", rank); }
  std::string folder_;
};

// A text of any content: its length, a colon, itself.
void add_text(std::string& to, const std::string& text) {
  absl::StrAppend(&to, text.size(), ":", text);
}

bool take_text(absl::string_view& from, std::string& text) {
  const size_t colon = from.find(':');
  size_t size = 0;
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(from.substr(0, colon), &size)) return false;
  from.remove_prefix(colon + 1);
  if (from.size() < size) return false;
  text = std::string(from.substr(0, size));
  from.remove_prefix(size);
  return true;
}

constexpr absl::string_view kOfferMark = "galleon-rank 1 ";

}  // namespace

std::unique_ptr<Rendezvous> make_folder_rendezvous(std::string folder) {
  return std::make_unique<FolderRendezvous>(std::move(folder));
}

std::string encode_offer(const RankOffer& offer) {
  std::string text(kOfferMark);
  for (const std::string* part : {&offer.identity.version, &offer.identity.job, &offer.address, &offer.secret})
    add_text(text, *part);
  return text;
}

absl::StatusOr<RankOffer> decode_offer(const std::string& payload) {
  RankOffer offer;
  absl::string_view rest = payload;
  bool good = absl::StartsWith(rest, kOfferMark);
  if (good) rest.remove_prefix(kOfferMark.size());
  for (std::string* part : {&offer.identity.version, &offer.identity.job, &offer.address, &offer.secret})
    good = good && take_text(rest, *part);
  if (!good) return absl::FailedPreconditionError("its offer is not one that this version of the program understands");
  return offer;
}

absl::Status check_identities(const std::vector<RankOffer>& offers) {
  const RankIdentity& first = offers.front().identity;
  for (size_t rank = 1; rank < offers.size(); ++rank) {
    const RankIdentity& other = offers[rank].identity;
    if (other.version != first.version) {
      return absl::FailedPreconditionError(absl::StrCat("rank ", rank, " runs version ", other.version,
                                                        " of the program, and rank 0 version ", first.version));
    }
    if (other.job != first.job) {
      return absl::FailedPreconditionError(
          absl::StrCat("rank ", rank, " has another job than rank 0: ",
                       differing_lines(first.job, other.job, "on rank 0", absl::StrCat("on rank ", rank))));
    }
  }
  return absl::OkStatus();
}

}  // namespace galleon
