#include "worker/engine/dist/socket_communicator.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/ids.h"
#include "worker/engine/dist/sockets.h"

namespace galleon {

namespace {

using SteadyClock = std::chrono::steady_clock;

// How long an exchange may stand still once some rank is gone.
constexpr absl::Duration kGrace = absl::Seconds(5);

// One direction of one connection during an exchange: pieces of memory, one after the other.
class Stream {
 public:
  void add(void* data, int64_t bytes) {
    pieces_.push_back({data, static_cast<size_t>(bytes)});
    left_ += bytes;
  }
  bool done() const { return left_ == 0; }
  int64_t left() const { return left_; }

  enum class Result { kMoved, kBlocked, kEnded };
  // Moves what the socket takes or has. kEnded: the connection is gone, `error` says why (0: closed by the peer).
  Result advance(int fd, bool sends, int& error) {
    bool moved = false;
    while (left_ > 0) {
      msghdr message{};
      message.msg_iov = pieces_.data() + first_;
      message.msg_iovlen = std::min<size_t>(pieces_.size() - first_, kPiecesAtOnce);
      const ssize_t n =
          sends ? ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) : ::recvmsg(fd, &message, MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return moved ? Result::kMoved : Result::kBlocked;
      if (n <= 0) {
        error = n == 0 ? 0 : errno;
        return Result::kEnded;
      }
      moved = true;
      take(static_cast<size_t>(n));
    }
    return Result::kMoved;
  }

 private:
  static constexpr size_t kPiecesAtOnce = 64;

  void take(size_t bytes) {
    left_ -= static_cast<int64_t>(bytes);
    while (bytes > 0) {
      iovec& piece = pieces_[first_];
      const size_t part = std::min(bytes, piece.iov_len);
      piece.iov_base = static_cast<char*>(piece.iov_base) + part;
      piece.iov_len -= part;
      bytes -= part;
      if (piece.iov_len == 0) ++first_;
    }
  }

  std::vector<iovec> pieces_;
  size_t first_ = 0;
  int64_t left_ = 0;
};

class SocketCommunicator final : public Communicator {
 public:
  SocketCommunicator(Device& device, int rank, int ranks, std::vector<FileDescriptor> peers,
                     absl::Duration hang_timeout)
      : Communicator(device, rank, ranks), peers_(std::move(peers)), hang_timeout_(hang_timeout) {}

  ~SocketCommunicator() override {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  double waited_seconds() const override { return waited_; }

 protected:
  absl::Status exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override {
    if (absl::Status s = finish_exchanges(); !s.ok()) return s;
    return move(out, in, waited_);
  }

  absl::Status begin_exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override {
    if (absl::Status s = finish_exchanges(); !s.ok()) return s;
    if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      background_out_.assign(out.begin(), out.end());
      background_in_.assign(in.begin(), in.end());
      under_way_ = true;
    }
    changed_.notify_all();
    return absl::OkStatus();
  }

  absl::Status finish_exchanges() override {
    if (!thread_.joinable()) return absl::OkStatus();
    const SteadyClock::time_point start = SteadyClock::now();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !under_way_; });
    waited_ += std::chrono::duration<double>(SteadyClock::now() - start).count();
    return background_status_;
  }

 private:
  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return under_way_ || ends_; });
      if (!under_way_) return;
      lock.unlock();
      double ignored = 0;
      const absl::Status status = move(background_out_, background_in_, ignored);
      lock.lock();
      background_status_.Update(status);
      under_way_ = false;
      changed_.notify_all();
    }
  }

  absl::Status move(absl::Span<const Outgoing> out, absl::Span<const Incoming> in, double& waited) {
    std::vector<Stream> sends(peers_.size());
    std::vector<Stream> receives(peers_.size());
    for (const Outgoing& message : out) sends[message.to].add(const_cast<void*>(message.data), message.bytes);
    for (const Incoming& message : in) receives[message.from].add(message.data, message.bytes);
    absl::Time last_move = absl::Now();
    std::vector<pollfd> watched;
    while (true) {
      bool done = true;
      bool moved = false;
      for (size_t peer = 0; peer < peers_.size(); ++peer) {
        for (const bool is_send : {true, false}) {
          Stream& stream = is_send ? sends[peer] : receives[peer];
          if (stream.done()) continue;
          int error = 0;
          const Stream::Result result = stream.advance(peers_[peer].get(), is_send, error);
          if (result == Stream::Result::kEnded) return ended(peer, error);
          moved |= result == Stream::Result::kMoved;
          done &= stream.done();
        }
      }
      if (done) return absl::OkStatus();
      if (moved) {
        last_move = absl::Now();
        continue;
      }
      // Every other rank is watched for its end, too: who is waited for may itself wait for a rank that is gone. At the
      // end of a run a rank may be done and gone before the rest are, which then need only a moment.
      watched.clear();
      for (size_t peer = 0; peer < peers_.size(); ++peer) {
        const int events = (sends[peer].done() ? 0 : POLLOUT) | (receives[peer].done() ? 0 : POLLIN);
        const bool gone = std::find(gone_.begin(), gone_.end(), peer) != gone_.end();
        // poll() passes over negative descriptors.
        watched.push_back(
            {gone && events == 0 ? -1 : peers_[peer].get(), static_cast<int16_t>(events == 0 ? POLLRDHUP : events), 0});
      }
      const absl::Duration left = last_move + (gone_.empty() ? hang_timeout_ : kGrace) - absl::Now();
      if (left <= absl::ZeroDuration()) return gone_.empty() ? hangs(sends, receives) : ended(gone_.front(), 0);
      const SteadyClock::time_point start = SteadyClock::now();
      ::poll(watched.data(), watched.size(),
             static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1, 60'000)));
      waited += std::chrono::duration<double>(SteadyClock::now() - start).count();
      for (size_t peer = 0; peer < peers_.size(); ++peer) {
        const bool idle = watched[peer].events == POLLRDHUP;
        if (!idle || (watched[peer].revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0) continue;
        if (gone_.empty()) last_move = absl::Now();
        gone_.push_back(peer);
      }
    }
  }

  absl::Status ended(size_t peer, int error) const {
    return absl::UnavailableError(absl::StrCat("rank ", peer, " has ended or cannot be reached any more",
                                               error == 0 ? "" : absl::StrCat(" (", std::strerror(error), ")")));
  }

  absl::Status hangs(const std::vector<Stream>& sends, const std::vector<Stream>& receives) const {
    std::vector<std::string> waits;
    for (size_t peer = 0; peer < peers_.size(); ++peer) {
      if (!receives[peer].done()) {
        waits.push_back(absl::StrCat("rank ", peer, " still has to send ", receives[peer].left(), " bytes"));
      } else if (!sends[peer].done()) {
        waits.push_back(absl::StrCat("rank ", peer, " still has to take ", sends[peer].left(), " bytes"));
      }
    }
    return absl::DeadlineExceededError(absl::StrCat(
        "it hangs: nothing has moved for ", absl::FormatDuration(hang_timeout_), "; ", absl::StrJoin(waits, ", ")));
  }

  std::vector<FileDescriptor> peers_;  // by rank; none of our own
  std::vector<size_t> gone_;           // ranks that have ended while nothing was to come from them
  absl::Duration hang_timeout_;
  double waited_ = 0;

  // One exchange in the background, and the thread that makes it.
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Outgoing> background_out_;
  std::vector<Incoming> background_in_;
  bool under_way_ = false;
  bool ends_ = false;
  absl::Status background_status_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> make_socket_communicator(Device& device, int rank, int ranks,
                                                                       Rendezvous& rendezvous,
                                                                       const RankIdentity& identity,
                                                                       const SocketOptions& options) {
  const absl::Time deadline = absl::Now() + options.meeting_timeout;
  absl::StatusOr<Listener> listener = listen_on(options.host);
  if (!listener.ok()) return listener.status();
  const std::string own = encode_offer({identity, listener->address, random_hex(16)});
  absl::StatusOr<std::vector<std::string>> payloads = rendezvous.exchange(rank, ranks, own, options.meeting_timeout);
  if (!payloads.ok()) return payloads.status();
  std::vector<RankOffer> offers;
  for (size_t other = 0; other < payloads->size(); ++other) {
    absl::StatusOr<RankOffer> offer = decode_offer((*payloads)[other]);
    if (!offer.ok())
      return absl::Status(offer.status().code(), absl::StrCat("rank ", other, ": ", offer.status().message()));
    offers.push_back(*std::move(offer));
  }
  if (absl::Status s = check_identities(offers); !s.ok()) return s;
  absl::StatusOr<std::vector<FileDescriptor>> peers = connect_ranks(*listener, rank, offers, deadline);
  if (!peers.ok()) return peers.status();
  return std::make_unique<SocketCommunicator>(device, rank, ranks, *std::move(peers), options.hang_timeout);
}

}  // namespace galleon
