#include "worker/engine/ranks/communicator.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/math/multiples.h"
#include "kernels/ops/activation.h"

namespace galleon {

namespace {

constexpr int64_t kAlignment = 64;
int64_t aligned(int64_t bytes) {
  return round_up(bytes, kAlignment);
}

// Pieces one after the other in a piece of memory.
class Pieces {
 public:
  explicit Pieces(char* memory) : data_(memory) {}
  Tensor next(int64_t rows, int64_t columns, DataType type) {
    const Tensor piece{data_, type, rows, columns, columns};
    data_ += aligned(piece.bytes());
    return piece;
  }

 private:
  char* data_;
};

}  // namespace

RowRange rows_of_rank(int64_t rows, int rank, int ranks, int64_t unit, int turn) {
  rank = (rank + ranks - turn % ranks) % ranks;
  const int64_t units = ceil_div(rows, unit);
  const int64_t base = units / ranks;
  const int64_t more = units % ranks;
  const int64_t begin = rank * base + std::min<int64_t>(rank, more);
  const int64_t end = begin + base + (rank < more ? 1 : 0);
  return {std::min(begin * unit, rows), std::min(end * unit, rows) - std::min(begin * unit, rows)};
}

bool Communicator::admit(const Tensor& x, Collective operation, Content content) {
  if (!status_.ok()) return false;
  GALLEON_CHECK(x.contiguous()) << shape_string(x);
  const char* begin = static_cast<const char*>(x.data);
  const char* end = begin + x.bytes();
  const bool dense = std::any_of(guarded_.begin(), guarded_.end(), [&](const Tensor& memory) {
    const char* from = static_cast<const char*>(memory.data);
    return begin < from + memory.bytes() && from < end;
  });
  const bool hidden = dense && content != Content::kProjectedDense;
  if (hidden || never_[static_cast<int>(content)]) {
    status_ = absl::InternalError(absl::StrCat(
        "rank ", rank_, " was about to send ",
        hidden ? "the dense gradient of a projected matrix as " : "what must never leave it, ", content_name(content),
        " of ", shape_string(x), ", by ", collective_name(operation), " in step ", step_));
    return false;
  }
  return true;
}

bool Communicator::admit(absl::Span<const ShardedRows> bucket, Collective operation) {
  return std::all_of(bucket.begin(), bucket.end(),
                     [&](const ShardedRows& rows) { return admit(rows.x, operation, rows.content); });
}

void Communicator::send(Messages& messages, int to, const Tensor& x, Collective operation, Content content) {
  if (x.bytes() == 0) return;
  sent_.of(operation, content) += x.bytes();
  if (executes()) messages.out.push_back({to, x.data, x.bytes()});
}

void Communicator::receive(Messages& messages, int from, const Tensor& x) {
  if (x.bytes() > 0) messages.in.push_back({from, x.data, x.bytes()});
}

void Communicator::take(const absl::Status& status, const char* operation) {
  if (status.ok() || !status_.ok()) return;
  status_ = absl::Status(status.code(), absl::StrCat("rank ", rank_, " of ", ranks_, " in ", operation, " of step ",
                                                     step_, ": ", status.message()));
}

void Communicator::move(const Messages& messages, const char* operation) {
  if (!status_.ok() || !executes() || (messages.out.empty() && messages.in.empty())) return;
  take(exchange(messages.out, messages.in), operation);
}

int64_t Communicator::begin_move(const Messages& messages, const char* operation) {
  if (!status_.ok() || !executes() || (messages.out.empty() && messages.in.empty())) return 0;
  const absl::StatusOr<int64_t> ticket = begin_exchange(messages.out, messages.in);
  take(ticket.status(), operation);
  return ticket.value_or(0);
}

void Communicator::reduce_scatter_rows(absl::Span<const ShardedRows> bucket, DataType wire) {
  scatter(bucket, wire, Collective::kReduceScatter);
}

// Every piece goes straight to its owner, who adds what arrives in the order of distance: a number is rounded to the
// wire's type once, whatever the number of ranks. A small bucket takes one exchange; of a large one the pieces come
// from one distance after the other, so that what has arrived and is not added yet stays small.
Communicator::Scatter Communicator::scatter_of(absl::Span<const ShardedRows> bucket, DataType wire,
                                               Collective operation) const {
  Scatter scatter;
  scatter.bucket.assign(bucket.begin(), bucket.end());
  scatter.wire = wire;
  scatter.operation = operation;
  for (const ShardedRows& rows : bucket) {
    const Tensor& x = rows.x;
    const int64_t largest = rows_of_rank(x.rows, 0, ranks_, rows.unit).count * x.columns;
    scatter.arriving_bytes += aligned(largest * bytes_of(wire));
    if (x.type == wire) continue;
    scatter.leaving_bytes += aligned(largest * bytes_of(wire));
    scatter.widened_bytes = std::max(scatter.widened_bytes, largest * bytes_of(x.type));
  }
  scatter.together = scatter.arriving_bytes * (ranks_ - 1) <= kBucketBytes ? std::max(1, ranks_ - 1) : 1;
  return scatter;
}

int64_t Communicator::reduction_bytes(absl::Span<const ShardedRows> bucket, DataType wire) const {
  if (ranks_ == 1) return 0;
  const Scatter scatter = scatter_of(bucket, wire, Collective::kReduceScatter);
  return scatter.together * (scatter.leaving_bytes + scatter.arriving_bytes);
}

// The messages to and from the distances that are next; what is rounded for the wire and what arrives lie in `memory`.
Communicator::Messages Communicator::messages_of(Scatter& scatter, char* memory) {
  Messages messages;
  Pieces leave(memory);
  Pieces arrive(memory + scatter.together * scatter.leaving_bytes);
  scatter.parts.clear();
  for (int distance = scatter.first; distance < scatter.first + scatter.together; ++distance) {
    const int to = (rank_ + distance) % ranks_;
    const int from = (rank_ + ranks_ - distance) % ranks_;
    for (const ShardedRows& rows : scatter.bucket) {
      const Tensor& x = rows.x;
      const RowRange theirs = rows.of_rank(to, ranks_);
      Tensor piece = x.row_range(theirs.begin, theirs.count);
      if (x.type != scatter.wire) {
        const Tensor rounded = leave.next(theirs.count, x.columns, scatter.wire);
        convert(device_, piece, rounded);
        piece = rounded;
      }
      send(messages, to, piece, scatter.operation, rows.content);
      scatter.parts.push_back(arrive.next(rows.of_rank(rank_, ranks_).count, x.columns, scatter.wire));
      receive(messages, from, scatter.parts.back());
    }
  }
  return messages;
}

void Communicator::add_parts(const Scatter& scatter) {
  const Workspace added(device_, scatter.widened_bytes);
  for (size_t i = 0; i < scatter.parts.size(); ++i) {
    const ShardedRows& rows = scatter.bucket[i % scatter.bucket.size()];
    const RowRange own = rows.of_rank(rank_, ranks_);
    const Tensor sum = rows.x.row_range(own.begin, own.count);
    if (own.count == 0) continue;
    if (rows.x.type == scatter.wire) {
      add(device_, scatter.parts[i], sum);
      continue;
    }
    const Tensor widened = added.tensor(own.count, rows.x.columns, rows.x.type);
    convert(device_, scatter.parts[i], widened);
    add(device_, widened, sum);
  }
}

void Communicator::scatter(absl::Span<const ShardedRows> bucket, DataType wire, Collective operation) {
  if (ranks_ == 1 || !admit(bucket, operation)) return;
  Scatter scatter = scatter_of(bucket, wire, operation);
  const Workspace memory(device_, scatter.together * (scatter.leaving_bytes + scatter.arriving_bytes));
  for (scatter.first = 1; scatter.first < ranks_; scatter.first += scatter.together) {
    move(messages_of(scatter, static_cast<char*>(memory.data())), collective_name(operation).data());
    if (!status_.ok()) return;
    add_parts(scatter);
  }
}

void Communicator::begin_reduce_scatter_rows(absl::Span<const ShardedRows> bucket, DataType wire,
                                             const Tensor& memory) {
  GALLEON_CHECK(flight_.first == 0) << "a reduce-scatter is under way";
  if (ranks_ == 1 || !admit(bucket, Collective::kReduceScatter)) return;
  GALLEON_CHECK(reduction_bytes(bucket, wire) <= memory.bytes()) << memory.bytes();
  flight_ = scatter_of(bucket, wire, Collective::kReduceScatter);
  flight_memory_ = memory;
  flight_.first = 1;
  flight_.ticket = begin_move(messages_of(flight_, static_cast<char*>(memory.data)), "reduce_scatter");
}

void Communicator::finish_reduce_scatter() {
  if (flight_.first == 0) return;
  if (executes() && status_.ok()) take(finish_exchanges(flight_.ticket), "reduce_scatter");
  while (status_.ok()) {
    add_parts(flight_);
    flight_.first += flight_.together;
    if (flight_.first >= ranks_) break;
    move(messages_of(flight_, static_cast<char*>(flight_memory_.data)), "reduce_scatter");
  }
  flight_ = Scatter{};
}

Communicator::Messages Communicator::gather(absl::Span<const ShardedRows> bucket, Collective operation) {
  Messages messages;
  for (int distance = 1; distance < ranks_; ++distance) {
    const int to = (rank_ + distance) % ranks_;
    const int from = (rank_ + ranks_ - distance) % ranks_;
    for (const ShardedRows& rows : bucket) {
      const RowRange own = rows.of_rank(rank_, ranks_);
      const RowRange theirs = rows.of_rank(from, ranks_);
      send(messages, to, rows.x.row_range(own.begin, own.count), operation, rows.content);
      receive(messages, from, rows.x.row_range(theirs.begin, theirs.count));
    }
  }
  return messages;
}

void Communicator::all_gather_rows(absl::Span<const ShardedRows> bucket) {
  if (ranks_ == 1 || !admit(bucket, Collective::kAllGather)) return;
  move(gather(bucket, Collective::kAllGather), "all_gather");
}

int64_t Communicator::begin_all_gather_rows(absl::Span<const ShardedRows> bucket) {
  if (ranks_ == 1 || !admit(bucket, Collective::kAllGather)) return 0;
  return begin_move(gather(bucket, Collective::kAllGather), "all_gather");
}

void Communicator::finish_gather(int64_t gather) {
  if (executes() && gather > 0) take(finish_exchanges(gather), "all_gather");
}

void Communicator::all_reduce(absl::Span<const Tensor> bucket, Content content) {
  if (ranks_ == 1) return;
  std::vector<ShardedRows> flat;
  flat.reserve(bucket.size());
  for (const Tensor& x : bucket) flat.push_back({x.reshape(x.size(), 1), 1, content});
  // No conversion: the wire has each tensor's own type.
  const DataType type = bucket.empty() ? DataType::kFloat32 : bucket.front().type;
  scatter(flat, type, Collective::kAllReduce);
  if (status_.ok()) move(gather(flat, Collective::kAllReduce), "all_reduce");
}

void Communicator::reduce(const Tensor& x, int root, Content content) {
  if (ranks_ == 1 || !admit(x, Collective::kReduce, content)) return;
  if (rank_ != root) {
    Messages messages;
    send(messages, root, x, Collective::kReduce, content);
    move(messages, "reduce");
    return;
  }
  const Workspace memory(device_, x.bytes());
  const Tensor arrived = memory.tensor(x.rows, x.columns, x.type);
  for (int other = 0; other < ranks_ && status_.ok(); ++other) {
    if (other == root) continue;
    Messages messages;
    receive(messages, other, arrived);
    move(messages, "reduce");
    if (status_.ok()) add(device_, arrived, x);
  }
}

void Communicator::broadcast(absl::Span<const Rooted> bucket, Content content) {
  if (ranks_ == 1) return;
  Messages messages;
  for (const Rooted& rooted : bucket) {
    if (!admit(rooted.x, Collective::kBroadcast, content)) return;
    if (rooted.root != rank_) {
      receive(messages, rooted.root, rooted.x);
      continue;
    }
    for (int distance = 1; distance < ranks_; ++distance)
      send(messages, (rank_ + distance) % ranks_, rooted.x, Collective::kBroadcast, content);
  }
  move(messages, "broadcast");
}

void Communicator::all_reduce_host(std::vector<double>& values) {
  if (ranks_ == 1 || !executes() || values.empty()) return;
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(double));
  std::vector<std::vector<double>> of_rank(ranks_, std::vector<double>(values.size()));
  of_rank[rank_] = values;
  Messages messages;
  for (int distance = 1; distance < ranks_; ++distance) {
    const int from = (rank_ + ranks_ - distance) % ranks_;
    messages.out.push_back({(rank_ + distance) % ranks_, of_rank[rank_].data(), bytes});
    messages.in.push_back({from, of_rank[from].data(), bytes});
  }
  move(messages, "sum of host numbers");
  std::fill(values.begin(), values.end(), 0.0);
  for (const std::vector<double>& part : of_rank) {
    for (size_t i = 0; i < values.size(); ++i) values[i] += part[i];
  }
}

std::vector<std::string> Communicator::all_gather_text(const std::string& text) {
  std::vector<std::string> all(ranks_);
  all[rank_] = text;
  if (ranks_ == 1 || !executes()) return all;
  std::vector<double> sizes(ranks_, 0.0);
  sizes[rank_] = static_cast<double>(text.size());
  all_reduce_host(sizes);
  if (!status_.ok()) return all;
  Messages messages;
  for (int distance = 1; distance < ranks_; ++distance) {
    const int from = (rank_ + ranks_ - distance) % ranks_;
    all[from].resize(static_cast<size_t>(sizes[from]));
    if (!text.empty()) {
      messages.out.push_back({(rank_ + distance) % ranks_, all[rank_].data(), static_cast<int64_t>(text.size())});
    }
    if (!all[from].empty()) messages.in.push_back({from, all[from].data(), static_cast<int64_t>(all[from].size())});
  }
  move(messages, "gathering of texts");
  return all;
}

namespace {

class SingleCommunicator final : public Communicator {
 public:
  explicit SingleCommunicator(Device& device) : Communicator(device, 0, 1) {}

 protected:
  absl::Status exchange(absl::Span<const Outgoing>, absl::Span<const Incoming>) override { return absl::OkStatus(); }
};

class PlanningCommunicator final : public Communicator {
 public:
  using Communicator::Communicator;

 protected:
  absl::Status exchange(absl::Span<const Outgoing>, absl::Span<const Incoming>) override { return absl::OkStatus(); }
  bool executes() const override { return false; }
};

}  // namespace

std::unique_ptr<Communicator> make_single_communicator(Device& device) {
  return std::make_unique<SingleCommunicator>(device);
}

std::unique_ptr<Communicator> make_planning_communicator(Device& device, int rank, int ranks) {
  return std::make_unique<PlanningCommunicator>(device, rank, ranks);
}

}  // namespace galleon
