// What ranks say to each other. Every collective is a few exchanges of messages between pairs, in an order that shapes
// alone decide, so that sums are the same each time; a transport moves the messages of one exchange all at once
// (sockets; with NCCL a group of sends and receives). Errors are sticky: after one, every operation returns at
// once without effect, and status() tells the first; the run looks at it before any effect of a step. What arrives on
// the way to a sum lies in the device's workspace.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "worker/engine/ranks/sent_bytes.h"

namespace galleon {

struct RowRange {
  int64_t begin = 0;
  int64_t count = 0;
};

// Rows [0, rows) cut into `ranks` consecutive pieces of whole units of `unit` rows (the last unit may be short), whose
// numbers of units differ by one at most; later ranks may get none.
// `turn`: the rank that gets the first piece; those behind it get the next.
RowRange rows_of_rank(int64_t rows, int rank, int ranks, int64_t unit = 1, int turn = 0);

// A tensor that is cut by rows over ranks.
struct ShardedRows {
  Tensor x;
  int64_t unit = 1;  // of rows_of_rank
  Content content = Content::kStatistic;
  int turn = 0;  // likewise

  RowRange of_rank(int rank, int ranks) const { return rows_of_rank(x.rows, rank, ranks, unit, turn); }
};

// A tensor that one rank has for all.
struct Rooted {
  Tensor x;
  int root = 0;
};

// What is small travels together: a bucket of tensors up to this size goes in one exchange.
inline constexpr int64_t kBucketBytes = int64_t{4} << 20;

class Communicator {
 public:
  Communicator(Device& device, int rank, int ranks) : device_(device), rank_(rank), ranks_(ranks) {}
  virtual ~Communicator() = default;
  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  const absl::Status& status() const { return status_; }
  // Bytes that this rank sent since it began.
  const SentBytes& sent() const { return sent_; }
  // For the messages of errors.
  void set_step(int64_t step) { step_ = step; }
  int64_t step() const { return step_; }
  // Seconds that this rank has spent waiting for others: least on the rank that the others wait for.
  virtual double waited_seconds() const { return 0; }

  // Memory that holds dense gradients of projected matrices. Nothing is sent from it unless it is declared as that, and
  // with `never` not even then: INTERNAL.
  void guard(const Tensor& memory) { guarded_.push_back(memory); }
  void never(Content content) { never_[static_cast<int>(content)] = true; }

  // Tensors are contiguous, fp32 or bf16, and of the same shapes on all ranks. A bucket is one exchange. After
  // reduce_scatter_rows this rank's rows (rows_of_rank with `unit`) hold the sum over ranks; its other rows are
  // undefined. What travels is of type `wire`; additions are in x's.
  void reduce_scatter_rows(absl::Span<const ShardedRows> bucket, DataType wire = DataType::kFloat32);
  // The same, while the caller goes on with something else: begins, and is completed by finish_reduce_scatter(), until
  // when the tensors and `memory` must not be touched. `memory` holds at least reduction_bytes() bytes. One at a time;
  // other collectives may come between, and travel behind it.
  void begin_reduce_scatter_rows(absl::Span<const ShardedRows> bucket, DataType wire, const Tensor& memory);
  void finish_reduce_scatter();
  int64_t reduction_bytes(absl::Span<const ShardedRows> bucket, DataType wire) const;
  // This rank's rows are copied to all ranks.
  void all_gather_rows(absl::Span<const ShardedRows> bucket);
  // The same, from its beginning to its end in the background where the transport can; until finish_gather() of what is
  // returned the tensors must not be touched. Other collectives may come between.
  int64_t begin_all_gather_rows(absl::Span<const ShardedRows> bucket);
  void finish_gather(int64_t gather);
  // x ← the sum over ranks, bit for bit the same on all of them.
  void all_reduce(absl::Span<const Tensor> bucket, Content content);
  void all_reduce(const Tensor& x, Content content) { all_reduce(absl::MakeConstSpan(&x, 1), content); }
  // x of `root` ← the sum over ranks, in rank order; other ranks keep theirs.
  void reduce(const Tensor& x, int root, Content content);
  // Each x ← that of its root.
  void broadcast(absl::Span<const Rooted> bucket, Content content);
  void broadcast(const Tensor& x, int root, Content content) { broadcast({{x, root}}, content); }
  // Sums of a few host numbers, in rank order. Not counted.
  virtual void all_reduce_host(std::vector<double>& values);
  // Every rank's text, in rank order. Texts are of any length. Not counted.
  virtual std::vector<std::string> all_gather_text(const std::string& text);

 protected:
  struct Outgoing {
    int to;
    const void* data;
    int64_t bytes;
  };
  struct Incoming {
    int from;
    void* data;
    int64_t bytes;
  };
  // Moves all messages, those of one pair in their order. Both sides know every size; none is 0. Exchanges take place
  // in the order in which they are asked for.
  virtual absl::Status exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) = 0;
  // An exchange that may go on in the background until finish_exchanges(ticket), which waits for it and all before it.
  virtual absl::StatusOr<int64_t> begin_exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) {
    if (absl::Status s = exchange(out, in); !s.ok()) return s;
    return 0;
  }
  virtual absl::Status finish_exchanges(int64_t /*ticket*/) { return absl::OkStatus(); }
  // The first error of what a transport does beside exchanges; and a new beginning.
  void fail(const absl::Status& status) { status_.Update(status); }
  void clear_status() { status_ = absl::OkStatus(); }
  // Whether data really moves; a planning communicator only counts.
  virtual bool executes() const { return true; }

 private:
  struct Messages {
    std::vector<Outgoing> out;
    std::vector<Incoming> in;
  };
  void send(Messages& messages, int to, const Tensor& x, Collective operation, Content content);
  static void receive(Messages& messages, int from, const Tensor& x);
  void move(const Messages& messages, const char* operation);
  // Returns the ticket, 0 if nothing moves.
  int64_t begin_move(const Messages& messages, const char* operation);
  // Whether this may be sent; sets the status if not.
  bool admit(const Tensor& x, Collective operation, Content content);
  bool admit(absl::Span<const ShardedRows> bucket, Collective operation);
  void take(const absl::Status& status, const char* operation);

  // A reduce-scatter on its way: what is sent and received of it at one time.
  struct Scatter {
    std::vector<ShardedRows> bucket;
    DataType wire = DataType::kFloat32;
    Collective operation = Collective::kReduceScatter;
    int together = 1;  // distances at a time
    int first = 0;     // of them; 0: nothing is on its way
    int64_t leaving_bytes = 0;
    int64_t arriving_bytes = 0;
    int64_t widened_bytes = 0;
    std::vector<Tensor> parts;
    int64_t ticket = 0;
  };
  Scatter scatter_of(absl::Span<const ShardedRows> bucket, DataType wire, Collective operation) const;
  Messages messages_of(Scatter& scatter, char* memory);
  void add_parts(const Scatter& scatter);
  void scatter(absl::Span<const ShardedRows> bucket, DataType wire, Collective operation);
  Messages gather(absl::Span<const ShardedRows> bucket, Collective operation);

  Device& device_;
  int rank_;
  int ranks_;
  int64_t step_ = 0;
  absl::Status status_;
  SentBytes sent_;
  std::vector<Tensor> guarded_;
  bool never_[kContents] = {};
  Scatter flight_;
  Tensor flight_memory_;
};

// One rank alone: nothing moves.
std::unique_ptr<Communicator> make_single_communicator(Device& device);
// Counts what rank `rank` of `ranks` would send.
std::unique_ptr<Communicator> make_planning_communicator(Device& device, int rank, int ranks);

}  // namespace galleon
