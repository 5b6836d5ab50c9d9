// What ranks say to each other. Errors are sticky: after one, every operation returns at once without effect, and
// status() tells the first; the run looks at it before any effect of a step. Bytes sent are counted by operation; what
// arrives on the way to a sum lies in the device's workspace.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/device.h"

namespace galleon {

struct RowRange {
  int64_t begin = 0;
  int64_t count = 0;
};

// Rows [0, rows) cut into `ranks` consecutive pieces of whole units of `unit` rows (the last unit may be short), whose
// numbers of units differ by one at most; later ranks may get none.
RowRange rows_of_rank(int64_t rows, int rank, int ranks, int64_t unit = 1);

struct SentBytes {
  int64_t reduce_scatter = 0;
  int64_t all_gather = 0;
  int64_t all_reduce = 0;
  int64_t broadcast = 0;
  int64_t total() const { return reduce_scatter + all_gather + all_reduce + broadcast; }
  SentBytes operator-(const SentBytes& other) const {
    return {reduce_scatter - other.reduce_scatter, all_gather - other.all_gather, all_reduce - other.all_reduce,
            broadcast - other.broadcast};
  }
};

class Communicator {
 public:
  Communicator(Device& device, int rank, int ranks) : device_(device), rank_(rank), ranks_(ranks) {}
  virtual ~Communicator() = default;
  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  const absl::Status& status() const { return status_; }
  // Bytes that this rank sent since it began.
  const SentBytes& sent() const { return sent_; }

  // Tensors are contiguous, fp32 or bf16, and of one shape on all ranks. Sums are formed in one order, the same each
  // time. After reduce_scatter_rows this rank's rows (rows_of_rank with `unit`) hold the sum over ranks; its other rows
  // are undefined. What travels is of type `wire`; additions are in x's.
  void reduce_scatter_rows(const Tensor& x, int64_t unit = 1, DataType wire = DataType::kFloat32);
  // This rank's rows are copied to all ranks.
  void all_gather_rows(const Tensor& x, int64_t unit = 1);
  // x ← the sum over ranks, bit for bit the same on all of them.
  void all_reduce(const Tensor& x);
  // x of `root` ← the sum over ranks, in rank order; other ranks keep theirs.
  void reduce(const Tensor& x, int root);
  // x ← that of `root`.
  void broadcast(const Tensor& x, int root);
  // Sums of a few host numbers, in rank order.
  void all_reduce_host(std::vector<double>& values);
  // Every rank's text, in rank order. Texts are of any length.
  std::vector<std::string> all_gather_text(const std::string& text);

 protected:
  // One message to `to` while one arrives from `from` (either may be -1: none). Sizes are known to both sides.
  virtual absl::Status exchange(const void* send, int64_t send_bytes, int to, void* receive, int64_t receive_bytes,
                                int from) = 0;
  // Whether data really moves; a planning communicator only counts.
  virtual bool executes() const { return true; }

 private:
  void move(const void* send, int64_t send_bytes, int to, void* receive, int64_t receive_bytes, int from,
            int64_t& counter);

  Device& device_;
  int rank_;
  int ranks_;
  absl::Status status_;
  SentBytes sent_;
};

// One rank alone: nothing moves.
std::unique_ptr<Communicator> make_single_communicator(Device& device);
// Counts what rank `rank` of `ranks` would send.
std::unique_ptr<Communicator> make_planning_communicator(Device& device, int rank, int ranks);

// How ranks learn each other's addresses: each offers one payload, and gets all of them in rank order.
class Rendezvous {
 public:
  virtual ~Rendezvous() = default;
  virtual absl::StatusOr<std::vector<std::string>> exchange(int rank, int ranks, const std::string& payload,
                                                            absl::Duration timeout) = 0;
};

// Through files of a folder that all ranks share and that is new for this run.
std::unique_ptr<Rendezvous> make_folder_rendezvous(std::string folder);

struct GlooOptions {
  // Address or name that this rank listens on; the others must reach it.
  std::string hostname = "127.0.0.1";
  absl::Duration connect_timeout = absl::Seconds(60);
  // A message that takes longer fails the run: a peer died or hangs.
  absl::Duration message_timeout = absl::Seconds(120);
};
// UNAVAILABLE: ranks did not meet in time, with how many came.
absl::StatusOr<std::unique_ptr<Communicator>> make_gloo_communicator(Device& device, int rank, int ranks,
                                                                     Rendezvous& rendezvous,
                                                                     const GlooOptions& options);

}  // namespace galleon
