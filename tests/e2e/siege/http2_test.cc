// What HTTP/2 lets a client say that costs it little: the kinds of attack that became known by their CVE. A tenth of
// each; GALLEON_SIEGE=full.
#include "tests/e2e/siege/http2.h"

#include <functional>

#include "tests/e2e/siege/siege.h"

namespace galleon {
namespace {

using http2::Connection;
using http2::frame;

constexpr uint32_t kConnections = 4;  // connections that attack at a time

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

class Http2Siege : public Siege {
 protected:
  // `piece(n)` is said for n = 0, 1, … until the server takes no more or `count` pieces were said, on each of a few
  // connections at a time; at full size by a caller who is known, and by one who shows nothing.
  void repeat(const std::string& name, int count, const std::function<std::string(uint32_t)>& piece,
              const std::string& before = "", const std::vector<std::pair<uint16_t, uint32_t>>& settings = {}) {
    endure(name, [&] { say_all(identity("eve"), of_full(count), piece, before, settings); });
    if (of_full(10) < 10) return;
    endure(name + " by a stranger", [&] { say_all("", count, piece, before, settings); });
  }

  static std::string begin_of_call(uint32_t stream, const std::string& method) {
    return frame(http2::kHeaders, http2::kEndHeaders, stream, http2::call_headers("/galleon.v1.JobService/" + method));
  }

 private:
  void say_all(const std::string& who, int count, const std::function<std::string(uint32_t)>& piece,
               const std::string& before, const std::vector<std::pair<uint16_t, uint32_t>>& settings) const {
    std::vector<std::thread> callers;
    for (uint32_t i = 0; i < kConnections; ++i) {
      callers.emplace_back([&] {
        Connection connection(service_.server(), who);
        bool taken = connection.greet(settings) && connection.say(before);
        std::string pieces;
        for (int n = 0; taken && n < count; ++n) {
          pieces += piece(static_cast<uint32_t>(n));
          if (pieces.size() < 16'000 && n + 1 < count) continue;
          taken = connection.say(pieces);
          pieces.clear();
        }
        absl::SleepFor(absl::Seconds(1));
      });
    }
    for (std::thread& caller : callers) caller.join();
  }
};

TEST_F(Http2Siege, FramesThatCostTheClientLittle) {
  // CVE-2023-44487.
  repeat("streams that are reset as soon as they are open", 200'000, [](uint32_t n) {
    return begin_of_call(2 * n + 1, "ListJobs") + frame(http2::kReset, http2::kNone, 2 * n + 1, big_endian(8));
  });
  // CVE-2025-8671.
  repeat("streams that the server has to reset", 200'000, [](uint32_t n) {
    return begin_of_call(2 * n + 1, "ListJobs") + frame(http2::kWindowUpdate, http2::kNone, 2 * n + 1, big_endian(0));
  });
  // CVE-2019-9512 and CVE-2019-9515: each is answered, and nobody reads the answers.
  repeat("pings", 2'000'000, [](uint32_t n) { return frame(http2::kPing, http2::kNone, 0, big_endian(n) + "ping"); });
  repeat("settings", 2'000'000, [](uint32_t) { return frame(http2::kSettings, http2::kNone, 0, ""); });
  // CVE-2019-9518: with nothing in them.
  repeat(
      "empty pieces of a body", 2'000'000, [](uint32_t) { return frame(http2::kData, http2::kNone, 1, ""); },
      begin_of_call(1, "CreateJob"));
  repeat(
      "empty pieces of headers", 2'000'000, [](uint32_t) { return frame(http2::kContinuation, http2::kNone, 1, ""); },
      frame(http2::kHeaders, http2::kNone, 1, http2::call_headers("/galleon.v1.JobService/ListJobs")));
  // Each piece of a body is kept apart: a byte may cost hundreds.
  const std::string announced("\0\x00\x07\xfe\x00", 5);
  repeat(
      "bodies byte by byte", 500'000, [](uint32_t) { return frame(http2::kData, http2::kNone, 1, "x"); },
      begin_of_call(1, "CreateJob") + frame(http2::kData, http2::kNone, 1, announced));
  // A header that the connection's table holds is named by one byte.
  const std::string large = "\x40" + http2::length_of(5) + "large" + http2::length_of(3'900) + std::string(3'900, 'x');
  const std::string list = http2::call_headers("/galleon.v1.JobService/ListJobs");
  repeat(
      "headers of one byte", 2'000,
      [&](uint32_t n) {
        return frame(http2::kHeaders, http2::kEndHeaders, 2 * n + 3, list + std::string(12'000, '\xbe'));
      },
      frame(http2::kHeaders, http2::kEndHeaders, 1, list + large));
  // CVE-2019-9511 and CVE-2019-9513.
  constexpr uint16_t kInitialWindow = 4;
  const std::string all("\0\0\0\0\3\x08\xe8\x07", 8);  // ListJobsRequest{page_size: 1000}
  repeat("windows that open by a byte", 500'000,
         [](uint32_t) { return frame(http2::kWindowUpdate, http2::kNone, 1, big_endian(1)); },
         begin_of_call(1, "ListJobs") + frame(http2::kData, http2::kEndStream, 1, all), {{kInitialWindow, 0}});
  repeat("priorities that change", 2'000'000, [](uint32_t n) {
    return frame(http2::kPriority, http2::kNone, 2 * (n % 1'000) + 1, big_endian(2 * ((n + 7) % 1'000) + 1) + "\x10");
  });
  expect_new_ones_are_let_in();
}

}  // namespace
}  // namespace galleon
