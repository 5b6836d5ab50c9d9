#include "worker/engine/ranks/socket_communicator.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "worker/engine/ranks/sockets.h"

namespace galleon {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr absl::Duration kConnectTimeout = absl::Seconds(8);
// How long an exchange may stand still once some rank is gone.
constexpr absl::Duration kGrace = absl::Seconds(5);

// What goes before the messages of one exchange from one rank to another, so that ranks that have come apart are
// noticed instead of taking one thing for another.
struct Heading {
  uint64_t number = 0;  // of exchanges of this pair in this direction
  int64_t bytes = 0;
  int64_t step = 0;
  bool operator==(const Heading&) const = default;
};

// One direction of one connection during an exchange: its heading, and pieces of memory, one after the other.
class Stream {
 public:
  void add(void* data, int64_t bytes) {
    if (pieces_.empty()) pieces_.push_back({&heading_, sizeof(heading_)});
    pieces_.push_back({data, static_cast<size_t>(bytes)});
    message_bytes_ += bytes;
    left_ = message_bytes_ + static_cast<int64_t>(sizeof(heading_));
  }
  bool empty() const { return pieces_.empty(); }
  bool done() const { return left_ == 0; }
  // Of messages, without the heading.
  int64_t left() const { return std::min(left_, message_bytes_); }
  int64_t message_bytes() const { return message_bytes_; }
  bool has_heading() const { return !pieces_.empty() && first_ > 0; }
  Heading& heading() { return heading_; }

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

  Heading heading_;
  std::vector<iovec> pieces_;
  size_t first_ = 0;
  int64_t message_bytes_ = 0;
  int64_t left_ = 0;
};

class SocketCommunicator final : public Communicator {
 public:
  SocketCommunicator(Device& device, int rank, int ranks, std::vector<FileDescriptor> peers,
                     absl::Duration hang_timeout)
      : Communicator(device, rank, ranks),
        peers_(std::move(peers)),
        sent_exchanges_(ranks),
        received_exchanges_(ranks),
        hang_timeout_(hang_timeout) {}

  ~SocketCommunicator() override {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ends_ = true;
    }
    // Who waits in the background for a rank that hangs has to be woken.
    for (const FileDescriptor& peer : peers_) {
      if (peer.valid()) ::shutdown(peer.get(), SHUT_RDWR);
    }
    changed_.notify_all();
    thread_.join();
  }

  double waited_seconds() const override { return waited_; }

 protected:
  absl::Status exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override {
    if (!thread_.joinable() || idle()) return move({{out.begin(), out.end()}, {in.begin(), in.end()}, step()}, waited_);
    const absl::StatusOr<int64_t> ticket = begin_exchange(out, in);
    return ticket.ok() ? finish_exchanges(*ticket) : ticket.status();
  }

  absl::StatusOr<int64_t> begin_exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override {
    if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!background_status_.ok()) return background_status_;
    queue_.push_back({{out.begin(), out.end()}, {in.begin(), in.end()}, step()});
    changed_.notify_all();
    return ++asked_;
  }

  absl::Status finish_exchanges(int64_t ticket) override {
    const SteadyClock::time_point start = SteadyClock::now();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return made_ >= ticket; });
    waited_ += std::chrono::duration<double>(SteadyClock::now() - start).count();
    return background_status_;
  }

 private:
  struct Exchange {
    std::vector<Outgoing> out;
    std::vector<Incoming> in;
    int64_t step = 0;
  };

  bool idle() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return made_ == asked_;
  }

  // Makes what is asked for in the background, one after the other; nothing more after an error.
  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return !queue_.empty() || ends_; });
      if (ends_) return;
      const Exchange next = std::move(queue_.front());
      queue_.pop_front();
      if (background_status_.ok()) {
        lock.unlock();
        double ignored = 0;
        const absl::Status status = move(next, ignored);
        lock.lock();
        background_status_.Update(status);
      }
      ++made_;
      changed_.notify_all();
    }
  }

  absl::Status move(const Exchange& exchange, double& waited) {
    std::vector<Stream> sends(peers_.size());
    std::vector<Stream> receives(peers_.size());
    for (const Outgoing& message : exchange.out) sends[message.to].add(const_cast<void*>(message.data), message.bytes);
    for (const Incoming& message : exchange.in) receives[message.from].add(message.data, message.bytes);
    std::vector<Heading> expected(peers_.size());
    for (size_t peer = 0; peer < peers_.size(); ++peer) {
      if (!sends[peer].empty())
        sends[peer].heading() = {++sent_exchanges_[peer], sends[peer].message_bytes(), exchange.step};
      if (!receives[peer].empty())
        expected[peer] = {++received_exchanges_[peer], receives[peer].message_bytes(), exchange.step};
    }
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
          if (!is_send && stream.has_heading() && stream.heading() != expected[peer])
            return apart(peer, stream.heading(), expected[peer]);
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
      const int ready = ::poll(watched.data(), watched.size(),
                               static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1, 1000)));
      waited += std::chrono::duration<double>(SteadyClock::now() - start).count();
      if (ready <= 0) {
        for (size_t peer = 0; peer < peers_.size(); ++peer) {
          if (peers_[peer].valid() && network_is_cut(peers_[peer].get())) return ended(peer, ETIMEDOUT);
        }
        continue;
      }
      for (size_t peer = 0; peer < peers_.size(); ++peer) {
        const bool idle = watched[peer].events == POLLRDHUP;
        if (!idle || (watched[peer].revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0) continue;
        if (gone_.empty()) last_move = absl::Now();
        gone_.push_back(peer);
      }
    }
  }

  static absl::Status apart(size_t peer, const Heading& got, const Heading& due) {
    return absl::InternalError(absl::StrCat("ranks have come apart: rank ", peer, " sent message ", got.number, " of ",
                                            got.bytes, " bytes in step ", got.step, ", due was message ", due.number,
                                            " of ", due.bytes, " bytes in step ", due.step));
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

  std::vector<FileDescriptor> peers_;                          // by rank; none of our own
  std::vector<uint64_t> sent_exchanges_, received_exchanges_;  // by rank
  std::vector<size_t> gone_;  // ranks that have ended while nothing was to come from them
  absl::Duration hang_timeout_;
  double waited_ = 0;

  // Exchanges in the background, and the thread that makes them.
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Exchange> queue_;
  int64_t asked_ = 0;
  int64_t made_ = 0;
  bool ends_ = false;
  absl::Status background_status_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> make_socket_communicator(Device& device, int rank, int ranks,
                                                                       Rendezvous& rendezvous,
                                                                       const RankIdentity& identity,
                                                                       const SocketOptions& options) {
  absl::StatusOr<Listener> listener = listen_on(options.interface);
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
  RETURN_IF_ERROR(check_identities(offers));
  // All were there a moment ago: who does not connect now has ended since.
  absl::StatusOr<std::vector<FileDescriptor>> peers =
      connect_ranks(*listener, rank, offers, absl::Now() + kConnectTimeout);
  if (!peers.ok()) return peers.status();
  return std::make_unique<SocketCommunicator>(device, rank, ranks, *std::move(peers), options.hang_timeout);
}

}  // namespace galleon
