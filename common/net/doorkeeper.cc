#include "common/net/doorkeeper.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kRecordHeader = 5;
constexpr unsigned char kHandshake = 22;
constexpr size_t kLargestHello = 16 << 10;  // of one record
constexpr int kLongestWaitMs = 50;
constexpr absl::Duration kPauseWithoutDescriptors = absl::Milliseconds(100);
constexpr absl::Duration kLongestRound = absl::Seconds(30);
constexpr int kAcceptedAtOnce = 64;
constexpr absl::Duration kBetweenLooks = absl::Milliseconds(50);
constexpr absl::Duration kBetweenLines = absl::Seconds(1);  // of the log
constexpr absl::Duration kQuiet = absl::Milliseconds(300);
constexpr int kShareOfLooks = 20;  // of this thread's time, one part of so many
// Each byte that the server says answers so many: an update of a window has 13 and makes room for a request of 512 KiB
// at most, and the answer to a call has more.
constexpr uint64_t kAnsweredByAByte = 40 << 10;

enum class Opening { kUnfinished, kSound, kForeign };

Opening judge(bool tls, absl::string_view begun) {
  if (!tls) {
    const absl::string_view seen = begun.substr(0, kPreface.size());
    if (seen != kPreface.substr(0, seen.size())) return Opening::kForeign;
    return seen.size() == kPreface.size() ? Opening::kSound : Opening::kUnfinished;
  }
  if (!begun.empty() && static_cast<unsigned char>(begun[0]) != kHandshake) return Opening::kForeign;
  if (begun.size() < kRecordHeader) return Opening::kUnfinished;
  const size_t length = (static_cast<unsigned char>(begun[3]) << 8) | static_cast<unsigned char>(begun[4]);
  if (length == 0 || length > kLargestHello) return Opening::kForeign;
  return begun.size() >= kRecordHeader + length ? Opening::kSound : Opening::kUnfinished;
}

// Who is at the other end, as far as numbers of connections are concerned: one network of IPv6 is one household.
std::string household(const sockaddr_storage& peer) {
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    return std::string(reinterpret_cast<const char*>(&v4.sin_addr), 4);
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
  const char* bytes = reinterpret_cast<const char*>(&v6.sin6_addr);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return std::string(bytes + 12, 4);
  return std::string(bytes, 8);
}

// As gRPC writes it: an IPv4 address that came as one of IPv6 is one of IPv4, and brackets are escaped.
std::string peer_text(const sockaddr_storage& peer) {
  char text[INET6_ADDRSTRLEN] = "";
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    return absl::StrCat("ipv4:", text, ":", ntohs(v4.sin_port));
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
  const uint16_t port = ntohs(v6.sin6_port);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    ::inet_ntop(AF_INET, reinterpret_cast<const char*>(&v6.sin6_addr) + 12, text, sizeof(text));
    return absl::StrCat("ipv4:", text, ":", port);
  }
  ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
  const std::string zone = v6.sin6_scope_id == 0 ? "" : absl::StrCat("%25", v6.sin6_scope_id);
  return absl::StrCat("ipv6:%5B", text, zone, "%5D:", port);
}

struct Said {
  uint64_t received = 0;
  uint64_t sent = 0;
};

// What the kernel has counted for a connection; zeros where it does not.
Said said_on(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return {};
  if (size < offsetof(tcp_info, tcpi_bytes_sent) + sizeof(info.tcpi_bytes_sent)) return {};
  return {info.tcpi_bytes_received, info.tcpi_bytes_sent};
}

// Ends a connection that others have descriptors of, and what has come in and was not read yet.
void cut_off(int fd) {
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  (void)::connect(fd, &nobody, sizeof(nobody));
}

// At once, and without a state that lingers.
void reset(FileDescriptor fd) {
  const linger none{1, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

}  // namespace

class Doorkeeper::Door {
 public:
  Door(ListenSocket listener, Options options, FileDescriptor poll, FileDescriptor wake)
      : options_(std::move(options)),
        listener_(std::move(listener.socket)),
        poll_(std::move(poll)),
        wake_(std::move(wake)) {
    watch(listener_.get(), kListener, EPOLLIN, EPOLL_CTL_ADD);
    watch(wake_.get(), kWake, EPOLLIN, EPOLL_CTL_ADD);
    last_round_ = absl::ToInt64Milliseconds(clock_.monotonic());
    thread_ = std::thread([this] { run(); });
  }

  ~Door() { stop(); }

  void stop() {
    if (!thread_.joinable()) return;
    stopped_ = true;
    ring();
    thread_.join();
    listener_.reset();
    guests_.clear();
  }

  Counts counts() const {
    return {open_.load(), silent_.load(), refused_.load(), turned_away_.load(), ended_.load(), flooding_.load()};
  }

  void end(const std::string& peer) {
    {
      const std::lock_guard<std::mutex> lock(to_end_mutex_);
      if (!to_end_.insert(peer).second) return;
    }
    ring();
  }

  absl::Status alive() const {
    if (clock_.monotonic() - absl::Milliseconds(last_round_.load()) < kLongestRound) return absl::OkStatus();
    return absl::UnavailableError("nobody is let in: the listener's thread stands still");
  }

 private:
  // Numbers of what is watched, never used twice: a descriptor's may be another's by the time that an event is read.
  static constexpr uint64_t kWake = 0;
  static constexpr uint64_t kListener = 1;

  struct Guest {
    FileDescriptor fd;  // the connection; once it was handed over, a second descriptor that shows when it ends
    std::string household;
    std::string peer;
    absl::Duration deadline;
    bool inside = false;
    Said said = {};  // as of the last look, once it is inside
    uint64_t unanswered = 0;
    absl::Duration quiet_since = {};      // when the server was last seen to have said something
    std::list<uint64_t>::iterator place;  // in silent_order_, while it is not inside
  };

  void ring() const {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof(one));
  }

  void watch(int fd, uint64_t number, uint32_t events, int how) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    ::epoll_ctl(poll_.get(), how, fd, &event);
  }

  void run() {
    epoll_event events[128];
    while (true) {
      const int n = ::epoll_wait(poll_.get(), events, 128, kLongestWaitMs);
      const absl::Duration now = clock_.monotonic();
      last_round_ = absl::ToInt64Milliseconds(now);
      bool knocks = false;
      for (int i = 0; i < n; ++i) {
        const uint64_t number = events[i].data.u64;
        if (number == kWake) {
          if (stopped_) return;
          end_asked();
          continue;
        }
        if (number == kListener) {
          knocks = true;
        } else if (const auto it = guests_.find(number); it != guests_.end()) {
          step(it, events[i].events);
        }
      }
      expire(now);
      if (now >= next_look_) look(now);
      if (paused_until_ != absl::ZeroDuration() && now >= paused_until_) {
        paused_until_ = absl::ZeroDuration();
        watch(listener_.get(), kListener, EPOLLIN, EPOLL_CTL_MOD);
      }
      if (knocks) accept_some(now);
    }
  }

  void accept_some(absl::Duration now) {
    for (int i = 0; i < kAcceptedAtOnce; ++i) {
      sockaddr_storage peer{};
      socklen_t length = sizeof(peer);
      FileDescriptor fd(
          ::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&peer), &length, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd.valid()) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
          // Who waits stays in the kernel's queue meanwhile.
          paused_until_ = now + kPauseWithoutDescriptors;
          watch(listener_.get(), kListener, 0, EPOLL_CTL_MOD);
        }
        if (errno == ECONNABORTED || errno == EINTR) continue;
        return;
      }
      const std::string from = household(peer);
      if (guests_.size() >= options_.most || by_household_[from] >= options_.most_of_address) {
        if (by_household_[from] == 0) by_household_.erase(from);
        ++refused_;
        reset(std::move(fd));
        continue;
      }
      if (silent_order_.size() >= options_.most_silent) turn_away(guests_.find(silent_order_.front()));
      ++by_household_[from];
      const uint64_t number = next_++;
      const int socket = fd.get();
      silent_order_.push_back(number);
      Guest guest;
      guest.fd = std::move(fd);
      guest.household = from;
      guest.peer = peer_text(peer);
      guest.deadline = now + options_.patience;
      guest.place = std::prev(silent_order_.end());
      const auto it = guests_.emplace(number, std::move(guest)).first;
      silent_ = silent_order_.size();
      watch(socket, number, EPOLLIN | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD);
      step(it, EPOLLIN);
    }
  }

  using Guests = std::unordered_map<uint64_t, Guest>;

  void step(Guests::iterator it, uint32_t events) {
    Guest& guest = it->second;
    if (guest.inside) {
      // Both sides have ended it.
      if ((events & (EPOLLHUP | EPOLLERR)) != 0) leave(it);
      return;
    }
    char begun[kRecordHeader + kLargestHello];
    const ssize_t n = ::recv(guest.fd.get(), begun, sizeof(begun), MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    const Opening opening = n <= 0 ? Opening::kForeign : judge(options_.tls, {begun, static_cast<size_t>(n)});
    if (opening == Opening::kForeign || (opening == Opening::kUnfinished && (events & EPOLLRDHUP) != 0))
      return turn_away(it);
    if (opening == Opening::kSound) let_in(it);
  }

  void let_in(Guests::iterator it) {
    Guest guest = std::move(it->second);
    silent_order_.erase(guest.place);
    silent_ = silent_order_.size();
    ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, guest.fd.get(), nullptr);
    guests_.erase(it);
    FileDescriptor shadow(::fcntl(guest.fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!shadow.valid()) {
      ++refused_;
      forget(guest.household);
      return;
    }
    options_.hand_over(guest.fd.release(), listener_.get());
    const uint64_t number = next_++;
    guest.fd = std::move(shadow);
    guest.inside = true;
    watch(guest.fd.get(), number, EPOLLET, EPOLL_CTL_ADD);  // its end is told without being asked for
    inside_[guest.peer] = number;
    guests_.emplace(number, std::move(guest));
    ++open_;
  }

  void leave(Guests::iterator it) {
    forget(it->second.household);
    // Another may have the port by now.
    if (const auto at = inside_.find(it->second.peer); at != inside_.end() && at->second == it->first)
      inside_.erase(at);
    guests_.erase(it);
    --open_;
  }

  void turn_away(Guests::iterator it) {
    ++turned_away_;
    forget(it->second.household);
    silent_order_.erase(it->second.place);
    silent_ = silent_order_.size();
    reset(std::move(it->second.fd));
    guests_.erase(it);
  }

  void forget(const std::string& household) {
    const auto it = by_household_.find(household);
    if (--it->second == 0) by_household_.erase(it);
  }

  void end_asked() {
    uint64_t rings = 0;
    [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &rings, sizeof(rings));
    std::set<std::string> peers;
    {
      const std::lock_guard<std::mutex> lock(to_end_mutex_);
      peers.swap(to_end_);
    }
    for (const std::string& peer : peers) {
      const auto it = inside_.find(peer);
      if (it == inside_.end()) continue;
      cut_off(guests_.at(it->second).fd.get());
      inside_.erase(it);
      ++flooding_;
      if (const absl::Duration now = clock_.monotonic(); now >= next_line_) {
        log_warning("ends the connection of ", peer, ": it begins calls only to cancel them; ", flooding_.load(),
                    " such connections so far");
        next_line_ = now + kBetweenLines;
      }
    }
  }

  // The oldest come first, and all have the same patience.
  void expire(absl::Duration now) {
    while (!silent_order_.empty()) {
      const auto it = guests_.find(silent_order_.front());
      if (it->second.deadline > now) return;
      turn_away(it);
    }
  }

  // Ends those that say too much. The server sees an error, and closes its side.
  void look(absl::Duration now) {
    for (auto& [number, guest] : guests_) {
      if (!guest.inside) continue;
      const Said said = said_on(guest.fd.get());
      // Cut off already: the kernel counts anew.
      if (said.received < guest.said.received || said.sent < guest.said.sent) continue;
      if (said.sent != guest.said.sent || guest.said.received == 0) guest.quiet_since = now;
      guest.unanswered += said.received - guest.said.received;
      guest.unanswered -= std::min(guest.unanswered, (said.sent - guest.said.sent) * kAnsweredByAByte);
      guest.said = said;
      // A window that was opened in one look is filled in the next; a busy server answers a little later.
      if (guest.unanswered <= options_.most_unanswered || now - guest.quiet_since < kQuiet) continue;
      guest.unanswered = 0;
      ++ended_;
      cut_off(guest.fd.get());
    }
    const absl::Duration end = clock_.monotonic();
    next_look_ = end + std::max(kBetweenLooks, kShareOfLooks * (end - now));
  }

  const Options options_;
  const SystemClock clock_;
  FileDescriptor listener_;
  const FileDescriptor poll_;
  const FileDescriptor wake_;
  Guests guests_;
  std::list<uint64_t> silent_order_;
  uint64_t next_ = 2;
  std::map<std::string, size_t> by_household_;
  std::unordered_map<std::string, uint64_t> inside_;  // by peer
  std::mutex to_end_mutex_;
  std::set<std::string> to_end_;  // peers
  absl::Duration paused_until_;
  absl::Duration next_look_;
  absl::Duration next_line_;
  std::atomic<int64_t> last_round_{0};
  std::atomic<uint64_t> open_{0};
  std::atomic<uint64_t> silent_{0};
  std::atomic<uint64_t> refused_{0};
  std::atomic<uint64_t> turned_away_{0};
  std::atomic<uint64_t> ended_{0};
  std::atomic<uint64_t> flooding_{0};
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<Doorkeeper>> Doorkeeper::start(ListenSocket listener, Options options) {
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  // Two for each that is inside, and some for files.
  if (options.most == 0) options.most = std::clamp<size_t>(descriptors.rlim_cur / 3, 16, 100'000);
  if (options.most_of_address == 0) options.most_of_address = std::max<size_t>(16, options.most / 2);
  options.most_silent = std::clamp<size_t>(options.most_silent, 1, options.most / 2);
  FileDescriptor poll(::epoll_create1(EPOLL_CLOEXEC));
  FileDescriptor wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!poll.valid() || !wake.valid()) return errno_status("cannot watch", to_string(listener.address), errno);
  auto door = std::make_unique<Door>(std::move(listener), std::move(options), std::move(poll), std::move(wake));
  return std::unique_ptr<Doorkeeper>(new Doorkeeper(std::move(door)));
}

Doorkeeper::Doorkeeper(std::unique_ptr<Door> door) : door_(std::move(door)) {}
Doorkeeper::~Doorkeeper() = default;

void Doorkeeper::stop() {
  door_->stop();
}

Doorkeeper::Counts Doorkeeper::counts() const {
  return door_->counts();
}

void Doorkeeper::end(const std::string& peer) {
  door_->end(peer);
}

absl::Status Doorkeeper::alive() const {
  return door_->alive();
}

size_t raise_descriptor_limit() {
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return 0;
  descriptors.rlim_cur = descriptors.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  return descriptors.rlim_cur;
}

}  // namespace galleon
