// What an exchange between all pairs of ranks costs on this machine, in time and in processor time of all ranks: by our
// sockets and, where it was found at build time, by Gloo's point-to-point buffers. Ranks are processes.
//   bench_ranks [--ranks N] [--bytes B] [--rounds K] [--json FILE]
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/engine/ranks/socket_communicator.h"

#ifdef GALLEON_HAS_GLOO
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>
#endif

namespace galleon {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Shape {
  int ranks = 2;
  int64_t bytes = 16384;
  int rounds = 2000;
};

// Joins the others through `folder` and returns what exchanges once with all of them.
using Join = std::function<std::function<void()>(int rank, const Shape&, const std::string& folder)>;

std::function<void()> join_by_sockets(int rank, const Shape& shape, const std::string& folder) {
  std::shared_ptr<Device> device = make_cpu_device(1);
  std::unique_ptr<Rendezvous> rendezvous = make_folder_rendezvous(folder);
  absl::StatusOr<std::unique_ptr<Communicator>> made =
      make_socket_communicator(*device, rank, shape.ranks, *rendezvous, {"bench", ""}, {});
  GALLEON_CHECK(made.ok()) << made.status().ToString();
  std::shared_ptr<Communicator> communicator = *std::move(made);
  auto arena = std::make_shared<Arena>(*device);
  const Tensor x = arena->tensor("x", MemoryCategory::kGradients, shape.ranks, shape.bytes / 4);
  return [device, communicator, arena, x] { communicator->all_gather_rows({{x, 1, Content::kUpdate}}); };
}

#ifdef GALLEON_HAS_GLOO
std::function<void()> join_by_gloo(int rank, const Shape& shape, const std::string& folder) {
  std::filesystem::create_directories(folder);
  gloo::rendezvous::FileStore store(folder);
  auto network = gloo::transport::tcp::CreateDevice(gloo::transport::tcp::attr("127.0.0.1"));
  auto context = std::make_shared<gloo::rendezvous::Context>(rank, shape.ranks);
  context->connectFullMesh(store, network);
  auto memory = std::make_shared<std::vector<char>>(shape.ranks * shape.bytes);
  const int ranks = shape.ranks;
  const int64_t bytes = shape.bytes;
  return [context, memory, rank, ranks, bytes] {
    std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> in;
    std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> out;
    for (int distance = 1; distance < ranks; ++distance) {
      const int to = (rank + distance) % ranks;
      const int from = (rank + ranks - distance) % ranks;
      in.push_back(context->createUnboundBuffer(memory->data() + from * bytes, bytes));
      in.back()->recv(from, 1);
      out.push_back(context->createUnboundBuffer(memory->data() + rank * bytes, bytes));
      out.back()->send(to, 1);
    }
    for (auto& one : in) one->waitRecv();
    for (auto& one : out) one->waitSend();
  };
}
#endif

double processor_seconds(const rusage& usage) {
  auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Each rank writes microseconds an exchange, and its processor time an exchange, into a pipe.
nlohmann::json measure(const std::string& name, const Join& join, const Shape& shape) {
  const std::string folder = absl::StrCat("/tmp/galleon-bench-ranks-", ::getpid(), "-", name);
  int results[2];
  GALLEON_CHECK(::pipe(results) == 0);
  std::vector<pid_t> children;
  for (int rank = 0; rank < shape.ranks; ++rank) {
    const pid_t child = ::fork();
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    const std::function<void()> exchange = join(rank, shape, folder);
    for (int i = 0; i < 50; ++i) exchange();
    rusage before{};
    rusage after{};
    ::getrusage(RUSAGE_SELF, &before);
    const SteadyClock::time_point start = SteadyClock::now();
    for (int i = 0; i < shape.rounds; ++i) exchange();
    const double seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
    ::getrusage(RUSAGE_SELF, &after);
    const double told[2] = {1e6 * seconds / shape.rounds,
                            1e6 * (processor_seconds(after) - processor_seconds(before)) / shape.rounds};
    exchange();  // nobody leaves before all are done
    const bool written = ::write(results[1], told, sizeof(told)) == sizeof(told);
    ::_exit(written ? 0 : 1);
  }
  double time = 0;
  double processor = 0;
  for (size_t i = 0; i < children.size(); ++i) {
    double told[2] = {};
    GALLEON_CHECK(::read(results[0], told, sizeof(told)) == sizeof(told)) << name << ": a rank has ended";
    time = std::max(time, told[0]);
    processor += told[1];
  }
  for (const pid_t child : children) ::waitpid(child, nullptr, 0);
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  std::printf("%-8s %d ranks, %ld bytes to each: %.1f us an exchange, %.1f us of processor time by all ranks\n",
              name.c_str(), shape.ranks, static_cast<long>(shape.bytes), time, processor);
  return {{"transport", name},
          {"ranks", shape.ranks},
          {"bytes", shape.bytes},
          {"microseconds", time},
          {"processor_microseconds", processor}};
}

int run(int argc, char** argv) {
  Shape shape;
  std::string json;
  CLI::App app{"Exchanges between all pairs of ranks, by transport."};
  app.add_option("--ranks", shape.ranks)->check(CLI::Range(2, 64));
  app.add_option("--bytes", shape.bytes, "from each rank to each")->check(CLI::Range(4, 1 << 28));
  app.add_option("--rounds", shape.rounds)->check(CLI::PositiveNumber);
  app.add_option("--json", json);
  CLI11_PARSE(app, argc, argv);
  nlohmann::json results = nlohmann::json::array();
  results.push_back(measure("sockets", join_by_sockets, shape));
#ifdef GALLEON_HAS_GLOO
  results.push_back(measure("gloo", join_by_gloo, shape));
#endif
  if (!json.empty()) std::ofstream(json) << results.dump(1) << "\n";
  return 0;
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  return galleon::run(argc, argv);
}
