// A link between two network namespaces with a rate and a delay of its own, for machines whose kernel has no netem: a
// TUN interface in each, and this program between them. Each direction sends one packet after the other at the rate and
// delivers it the delay later; nothing is lost. At SIGTERM it prints what it carried as JSON.
//   link_emulator NAMESPACE_A ADDRESS_A NAMESPACE_B ADDRESS_B MEGABITS MILLISECONDS
// Prints "ready" once both interfaces, "link0", are there (addresses like 10.0.0.1/24). Needs root.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "common/base/files.h"

namespace {

using galleon::FileDescriptor;
using Clock = std::chrono::steady_clock;
constexpr size_t kLargestPacket = 65536;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "link_emulator: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

FileDescriptor open_interface(const std::string& name_space, const std::string& address) {
  const FileDescriptor home(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  const FileDescriptor there(::open(("/run/netns/" + name_space).c_str(), O_RDONLY | O_CLOEXEC));
  if (!there.valid() || ::setns(there.get(), CLONE_NEWNET) != 0) fail("cannot enter " + name_space);
  FileDescriptor tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  ifreq request{};
  std::strcpy(request.ifr_name, "link0");
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (!tun.valid() || ::ioctl(tun.get(), TUNSETIFF, &request) != 0) fail("cannot make an interface in " + name_space);
  const std::string setup =
      "ip address add " + address + " dev link0 && ip link set link0 up txqueuelen 20000 && ip link set lo up";
  if (std::system(setup.c_str()) != 0) fail("cannot set up the interface in " + name_space);
  if (::setns(home.get(), CLONE_NEWNET) != 0) fail("cannot return");
  return tun;
}

// Bytes of a packet behind its IPv4 and TCP headers.
int64_t payload_of(const std::vector<char>& packet) {
  iphdr ip{};
  if (packet.size() < sizeof(ip)) return 0;
  std::memcpy(&ip, packet.data(), sizeof(ip));
  const size_t header = ip.ihl * 4U;
  tcphdr tcp{};
  if (ip.version != 4 || ip.protocol != IPPROTO_TCP || packet.size() < header + sizeof(tcp)) return 0;
  std::memcpy(&tcp, packet.data() + header, sizeof(tcp));
  return static_cast<int64_t>(packet.size()) - static_cast<int64_t>(header + tcp.doff * 4U);
}

struct Direction {
  int from = -1;
  int to = -1;
  struct Flying {
    Clock::time_point arrives;
    std::vector<char> packet;
  };
  std::deque<Flying> flying;
  Clock::time_point free_at{};
  int64_t packets = 0;
  int64_t bytes = 0;
  int64_t payload = 0;

  void take(double seconds_per_byte, Clock::duration delay) {
    char buffer[kLargestPacket];
    while (true) {
      const ssize_t n = ::read(from, buffer, sizeof(buffer));
      if (n <= 0) return;
      free_at = std::max(free_at, Clock::now()) +
                std::chrono::duration_cast<Clock::duration>(
                    std::chrono::duration<double>(seconds_per_byte * static_cast<double>(n)));
      flying.push_back({free_at + delay, {buffer, buffer + n}});
      ++packets;
      bytes += n;
      payload += payload_of(flying.back().packet);
    }
  }
  void deliver() {
    while (!flying.empty() && flying.front().arrives <= Clock::now()) {
      const std::vector<char>& packet = flying.front().packet;
      [[maybe_unused]] const ssize_t n = ::write(to, packet.data(), packet.size());
      flying.pop_front();
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "link_emulator NAMESPACE_A ADDRESS_A NAMESPACE_B ADDRESS_B MEGABITS MILLISECONDS\n");
    return 2;
  }
  const FileDescriptor a = open_interface(argv[1], argv[2]);
  const FileDescriptor b = open_interface(argv[3], argv[4]);
  const double seconds_per_byte = 8e-6 / std::atof(argv[5]);
  const auto delay =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(std::atof(argv[6])));
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  const FileDescriptor stop(::signalfd(-1, &signals, SFD_CLOEXEC));
  std::printf("ready\n");
  std::fflush(stdout);
  Direction directions[2];
  directions[0].from = directions[1].to = a.get();
  directions[1].from = directions[0].to = b.get();
  while (true) {
    Clock::time_point next = Clock::now() + std::chrono::seconds(1);
    for (const Direction& d : directions) {
      if (!d.flying.empty()) next = std::min(next, d.flying.front().arrives);
    }
    pollfd fds[3] = {{a.get(), POLLIN, 0}, {b.get(), POLLIN, 0}, {stop.get(), POLLIN, 0}};
    const auto wait = std::max<Clock::duration>(next - Clock::now(), Clock::duration::zero());
    const timespec timeout{0, std::min<long>(999'999'999, std::chrono::nanoseconds(wait).count())};
    ::ppoll(fds, 3, &timeout, nullptr);
    if ((fds[2].revents & POLLIN) != 0) break;
    for (Direction& d : directions) {
      d.take(seconds_per_byte, delay);
      d.deliver();
    }
  }
  std::printf("{\"a_to_b\": {\"packets\": %ld, \"bytes\": %ld, \"payload\": %ld}, ", directions[0].packets,
              directions[0].bytes, directions[0].payload);
  std::printf("\"b_to_a\": {\"packets\": %ld, \"bytes\": %ld, \"payload\": %ld}}\n", directions[1].packets,
              directions[1].bytes, directions[1].payload);
  return 0;
}
