// Ranks as threads that meet through a folder, each with a device of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/worker/engine/run_support.h"
#include "worker/engine/ranks/socket_communicator.h"

namespace galleon {

struct Rank {
  Device& device;
  Communicator& communicator;
};

inline void with_ranks(int ranks, const std::function<void(Rank&)>& body, const SocketOptions& options = {}) {
  TestFolder folder;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      std::unique_ptr<Device> device = make_cpu_device(1);
      std::unique_ptr<Rendezvous> rendezvous = make_folder_rendezvous(folder.path() + "/meeting");
      absl::StatusOr<std::unique_ptr<Communicator>> communicator =
          make_socket_communicator(*device, rank, ranks, *rendezvous, {"test", ""}, options);
      ASSERT_TRUE(communicator.ok()) << communicator.status();
      Rank self{*device, **communicator};
      body(self);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace galleon
