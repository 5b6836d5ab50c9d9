#include "worker/engine/ranks/rendezvous.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "worker/engine/ground/differing_lines.h"
#include "worker/engine/ranks/greeting.h"
#include "worker/engine/ranks/reception.h"
#include "worker/engine/ranks/sockets.h"

namespace galleon {

namespace {

// Whole for readers, and nobody else's to read.
absl::Status write_privately(const std::string& path, const std::string& content) {
  const std::string temporary = absl::StrCat(path, ".", random_hex(4));
  {
    const FileDescriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file.valid()) return errno_status("cannot write", temporary, errno);
    RETURN_IF_ERROR(write_all(file.get(), content));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return errno_status("cannot write", path, errno);
  return absl::OkStatus();
}

std::string ranks_that_miss(const std::vector<int>& missing) {
  return absl::StrCat(missing.size() == 1 ? "rank " : "ranks ", absl::StrJoin(missing, ", "));
}

constexpr size_t kIdBytes = 16;

// Each rank writes its offer under a number drawn for it, and then which numbers it has seen; all is agreed when all
// have seen the same. A file of an earlier run never says that it has seen ours.
class FolderRendezvous final : public Rendezvous {
 public:
  explicit FolderRendezvous(std::string folder) : folder_(std::move(folder)) {}

  absl::StatusOr<std::vector<std::string>> exchange(int rank, int ranks, const std::string& payload,
                                                    absl::Duration timeout) override {
    RETURN_IF_ERROR(make_folders(folder_));
    RETURN_IF_ERROR(write_privately(path("rank-", rank), random_hex(kIdBytes / 2) + payload));
    const absl::Time deadline = absl::Now() + timeout;
    std::string told;
    while (true) {
      std::vector<std::string> all(ranks);
      std::vector<int> missing;
      std::string seen;
      for (int other = 0; other < ranks; ++other) {
        absl::StatusOr<std::string> content = read_file(path("rank-", other));
        if (!content.ok() || content->size() < kIdBytes) {
          missing.push_back(other);
          continue;
        }
        seen += content->substr(0, kIdBytes);
        all[other] = content->substr(kIdBytes);
      }
      if (missing.empty()) {
        if (told != seen) {
          RETURN_IF_ERROR(write_privately(path("seen-", rank), seen));
          told = seen;
        }
        for (int other = 0; other < ranks; ++other) {
          if (read_file(path("seen-", other)).value_or("") != seen) missing.push_back(other);
        }
        if (missing.empty()) return all;
      }
      if (absl::Now() > deadline) {
        return absl::UnavailableError(absl::StrCat(ranks_that_miss(missing), " of ", ranks, " did not come to ",
                                                   folder_, " within ", absl::FormatDuration(timeout)));
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

 private:
  std::string path(absl::string_view name, int rank) const { return absl::StrCat(folder_, "/", name, rank); }
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

absl::Status send_text(int fd, const std::string& text, absl::Time deadline) {
  return send_all(fd, framed_text(text), deadline);
}

absl::StatusOr<std::string> receive_text(int fd, absl::Time deadline) {
  absl::StatusOr<std::string> digits = receive_exactly(fd, kTextSizeDigits, deadline);
  if (!digits.ok()) return digits.status();
  uint64_t size = 0;
  if (!size_of_text(*digits, size)) return absl::UnavailableError("it speaks another language");
  return receive_exactly(fd, size, deadline);
}

// Rank 0 collects the offers of all and sends them to all. Its answer begins with 'A' (all offers) or 'E' (an error).
class AddressRendezvous final : public Rendezvous {
 public:
  AddressRendezvous(std::string address, std::string secret)
      : address_(std::move(address)), secret_(std::move(secret)) {}

  absl::StatusOr<std::vector<std::string>> exchange(int rank, int ranks, const std::string& payload,
                                                    absl::Duration timeout) override {
    const absl::Time deadline = absl::Now() + timeout;
    return rank == 0 ? collect(ranks, payload, timeout, deadline) : call(rank, ranks, payload, timeout, deadline);
  }

 private:
  absl::StatusOr<std::vector<std::string>> collect(int ranks, const std::string& payload, absl::Duration timeout,
                                                   absl::Time deadline) {
    const size_t colon = address_.rfind(':');
    std::string host = address_.substr(0, colon);
    if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) host = host.substr(1, host.size() - 2);
    absl::StatusOr<Listener> listener = listen_on(host, address_.substr(colon + 1));
    if (!listener.ok()) return listener.status();
    std::vector<std::string> all(ranks);
    std::vector<FileDescriptor> callers(ranks);
    all[0] = payload;
    auto secret_of = [&](int other) {
      return other > 0 && other < kMostRanks && (other >= ranks || !callers[other].valid()) ? secret_ : "";
    };
    absl::Status refused;
    Reception reception(listener->socket.get(), secret_of, true);
    for (int missing = ranks - 1; missing > 0 && refused.ok();) {
      std::optional<Caller> caller = reception.next(deadline);
      if (!caller) {
        std::vector<int> absent;
        for (int other = 1; other < ranks; ++other) {
          if (!callers[other].valid()) absent.push_back(other);
        }
        refused = absl::UnavailableError(absl::StrCat(ranks_that_miss(absent), " of ", ranks, " did not come to ",
                                                      address_, " within ", absl::FormatDuration(timeout)));
        break;
      }
      absl::string_view rest = caller->text;
      std::string number;
      std::string offer;
      if (!take_text(rest, number) || !take_text(rest, offer)) continue;
      if (number != absl::StrCat(ranks)) {
        refused = absl::FailedPreconditionError(absl::StrCat("rank ", caller->rank, " was started as one of ", number,
                                                             " ranks, and rank 0 as one of ", ranks));
        (void)send_text(caller->socket.get(), absl::StrCat("E", refused.message()), absl::Now() + absl::Seconds(2));
        break;
      }
      if (caller->rank >= ranks) continue;
      all[caller->rank] = std::move(offer);
      callers[caller->rank] = std::move(caller->socket);
      --missing;
    }
    std::string answer = "A";
    for (const std::string& offer : all) add_text(answer, offer);
    if (!refused.ok()) answer = absl::StrCat("E", refused.message());
    for (const FileDescriptor& caller : callers) {
      if (caller.valid()) (void)send_text(caller.get(), answer, absl::Now() + absl::Seconds(10));
    }
    if (!refused.ok()) return refused;
    return all;
  }

  absl::StatusOr<std::vector<std::string>> call(int rank, int ranks, const std::string& payload, absl::Duration timeout,
                                                absl::Time deadline) {
    std::string reason = "nobody has answered yet";
    while (absl::Now() < deadline) {
      absl::StatusOr<FileDescriptor> rank0 =
          connect_to(address_, nullptr, std::min(deadline, absl::Now() + absl::Seconds(5)));
      absl::Status greeted = rank0.status();
      if (greeted.ok())
        greeted = greet(rank0->get(), rank, secret_, std::min(deadline, absl::Now() + absl::Seconds(10)));
      if (!greeted.ok()) {
        reason = std::string(greeted.message());
        if (absl::IsUnauthenticated(greeted)) return absl::UnauthenticatedError(absl::StrCat(address_, ": ", reason));
        absl::SleepFor(absl::Milliseconds(50));
        continue;
      }
      std::string own;
      add_text(own, absl::StrCat(ranks));
      add_text(own, payload);
      // Rank 0 says who did not come, a moment after its own deadline.
      absl::StatusOr<std::string> answer = std::string();
      if (const absl::Status told = send_text(rank0->get(), own, deadline); told.ok()) {
        answer = receive_text(rank0->get(), deadline + absl::Seconds(2));
      } else {
        answer = told;
      }
      if (!answer.ok()) {
        return absl::UnavailableError(absl::StrCat("the ", ranks, " ranks did not meet at ", address_, " within ",
                                                   absl::FormatDuration(timeout), ": ", answer.status().message()));
      }
      absl::string_view rest = *answer;
      if (rest.empty() || rest[0] != 'A')
        return absl::FailedPreconditionError(rest.substr(std::min<size_t>(1, rest.size())));
      rest.remove_prefix(1);
      std::vector<std::string> all(ranks);
      for (std::string& offer : all) {
        if (!take_text(rest, offer)) return absl::UnavailableError(absl::StrCat(address_, " answers something else"));
      }
      return all;
    }
    return absl::UnavailableError(absl::StrCat("rank ", rank, " did not reach rank 0 at ", address_, " within ",
                                               absl::FormatDuration(timeout), ": ", reason));
  }

  static constexpr int kMostRanks = 1 << 16;
  std::string address_;
  std::string secret_;
};

}  // namespace

std::unique_ptr<Rendezvous> make_address_rendezvous(std::string address, std::string secret) {
  return std::make_unique<AddressRendezvous>(std::move(address), std::move(secret));
}

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
