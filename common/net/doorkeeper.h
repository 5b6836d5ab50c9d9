// A listening socket in front of a server that trusts whoever is connected: only who has begun to speak its language
// gets there, and nobody takes all of the descriptors. Everything before happens on one thread that never blocks.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/listen_socket.h"

namespace galleon {

class Doorkeeper {
 public:
  struct Options {
    // What a connection begins with: a whole first TLS record with a handshake, or HTTP/2's preface.
    bool tls = false;
    size_t most = 0;             // connections in all; 0: a third of the descriptors that the process may have
    size_t most_of_address = 0;  // from one IPv4 address or IPv6 /64; 0: half of them
    size_t most_silent = 512;    // that have not begun to speak; beyond, the oldest goes
    absl::Duration patience = absl::Seconds(10);  // for the beginning
    // How much a connection may say that it gets no answer to: more than the largest request and HTTP/2's windows. One
    // that says more does not wait for them, such as with a header that never ends, and costs more than a server should
    // spend on listening.
    uint64_t most_unanswered = 640 << 10;
    // Takes over a connection. From the doorkeeper's thread.
    std::function<void(int fd, int listener)> hand_over;
  };
  struct Counts {
    uint64_t open = 0;         // handed over, and not closed yet
    uint64_t silent = 0;       // not begun to speak
    uint64_t refused = 0;      // since the start: too many
    uint64_t turned_away = 0;  // since the start: silent for too long, or another language
    uint64_t ended = 0;        // since the start: said too much without an answer
    uint64_t flooding = 0;     // since the start: ended by end()
  };

  static absl::StatusOr<std::unique_ptr<Doorkeeper>> start(ListenSocket listener, Options options);
  ~Doorkeeper();
  // Closes the listener and what was not handed over.
  void stop();
  Doorkeeper(const Doorkeeper&) = delete;
  Doorkeeper& operator=(const Doorkeeper&) = delete;

  Counts counts() const;
  // Ends a connection that was handed over, and drops what has come in on it and was not read yet. `peer` as gRPC
  // writes it: ipv4:127.0.0.1:7070. From any thread; without effect on one that is unknown.
  void end(const std::string& peer);
  // UNAVAILABLE: the thread has not gone round for so long that nobody is let in.
  absl::Status alive() const;

 private:
  class Door;
  explicit Doorkeeper(std::unique_ptr<Door> door);
  std::unique_ptr<Door> door_;
};

// Lets this process open as many descriptors as it may at all, and returns how many these are.
size_t raise_descriptor_limit();

}  // namespace galleon
