#include "worker/engine/ranks/reception.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "worker/engine/ranks/greeting.h"
#include "worker/engine/ranks/sockets.h"

namespace galleon {

namespace {

// For a whole greeting. Who is expected has it ready when he calls.
constexpr absl::Duration kPatience = absl::Seconds(5);
// Beyond these the oldest has to go: a stranger must not keep a rank out by holding all places.
constexpr size_t kMostGuests = 256;
constexpr int kMostAccepted = 64;  // before those inside are heard again

}  // namespace

struct Reception::Guest {
  enum class Says { kHello, kProof, kSize, kText };

  FileDescriptor socket;
  absl::Time until;
  Says says = Says::kHello;
  size_t wanted = kHelloBytes;  // bytes of what it is to say next
  std::string said;             // of them
  int rank = -1;
  std::string secret;
  std::string hello;
  std::string nonce;
  std::string text;
};

Reception::Reception(int listener, std::function<std::string(int)> secret_of, bool wants_text)
    : listener_(listener), secret_of_(std::move(secret_of)), wants_text_(wants_text) {}

Reception::~Reception() = default;

void Reception::accept_guests() {
  for (int i = 0; i < kMostAccepted; ++i) {
    Guest guest;
    guest.socket = FileDescriptor(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!guest.socket.valid()) return;
    prepare_connection(guest.socket.get());
    guest.until = absl::Now() + kPatience;
    if (guests_.size() >= kMostGuests) guests_.pop_front();
    guests_.push_back(std::move(guest));
  }
}

Reception::Progress Reception::take_hello(Guest& guest) {
  guest.rank = rank_of_hello(guest.said);
  guest.secret = guest.rank < 0 ? "" : secret_of_(guest.rank);
  if (guest.secret.empty()) return Progress::kLeaves;
  guest.hello = guest.said;
  guest.nonce = draw_nonce();
  const std::string answer =
      absl::StrCat(guest.nonce, greeting_proof(guest.secret, "called", guest.hello, guest.nonce));
  // A new connection has room for it.
  const ssize_t n = ::send(guest.socket.get(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n != static_cast<ssize_t>(answer.size())) return Progress::kLeaves;
  guest.says = Guest::Says::kProof;
  guest.wanted = kProofBytes;
  return Progress::kWaits;
}

// What it had to say has been said.
Reception::Progress Reception::take(Guest& guest) {
  uint64_t size = 0;
  switch (guest.says) {
    case Guest::Says::kHello:
      return take_hello(guest);
    case Guest::Says::kProof:
      if (!same_proof(guest.said, greeting_proof(guest.secret, "caller", guest.hello, guest.nonce)))
        return Progress::kLeaves;
      // Another with the same name may have been quicker.
      if (secret_of_(guest.rank) != guest.secret) return Progress::kLeaves;
      guest.says = Guest::Says::kSize;
      guest.wanted = kTextSizeDigits;
      return wants_text_ ? Progress::kWaits : Progress::kDone;
    case Guest::Says::kSize:
      if (!size_of_text(guest.said, size)) return Progress::kLeaves;
      guest.says = Guest::Says::kText;
      guest.wanted = size;
      return size == 0 ? Progress::kDone : Progress::kWaits;
    case Guest::Says::kText:
      guest.text = std::move(guest.said);
      return secret_of_(guest.rank) == guest.secret ? Progress::kDone : Progress::kLeaves;
  }
  return Progress::kLeaves;
}

// Reads what there is, and no further than to the end of the greeting: what follows is for others.
Reception::Progress Reception::hear(Guest& guest) {
  while (true) {
    char buffer[4096];
    const size_t most = std::min(sizeof(buffer), guest.wanted - guest.said.size());
    const ssize_t n = ::recv(guest.socket.get(), buffer, most, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Progress::kWaits;
    if (n <= 0) return Progress::kLeaves;
    guest.said.append(buffer, static_cast<size_t>(n));
    if (guest.said.size() < guest.wanted) continue;
    const Progress progress = take(guest);
    if (progress != Progress::kWaits) return progress;
    guest.said.clear();
  }
}

std::optional<Caller> Reception::next(absl::Time deadline) {
  while (true) {
    accept_guests();
    absl::Time soonest = deadline;
    for (auto guest = guests_.begin(); guest != guests_.end();) {
      const Progress progress = hear(*guest);
      if (progress == Progress::kDone) {
        Caller caller{std::move(guest->socket), guest->rank, std::move(guest->text)};
        guests_.erase(guest);
        return caller;
      }
      const bool leaves = progress == Progress::kLeaves || absl::Now() >= guest->until;
      if (!leaves) soonest = std::min(soonest, guest->until);
      guest = leaves ? guests_.erase(guest) : std::next(guest);
    }
    if (absl::Now() >= deadline) return std::nullopt;
    std::vector<pollfd> watched{{listener_, POLLIN, 0}};
    for (const Guest& guest : guests_) watched.push_back({guest.socket.get(), POLLIN, 0});
    const int64_t left = absl::ToInt64Milliseconds(soonest - absl::Now()) + 1;
    (void)::poll(watched.data(), watched.size(), static_cast<int>(std::clamp<int64_t>(left, 1, 1000)));
  }
}

}  // namespace galleon
