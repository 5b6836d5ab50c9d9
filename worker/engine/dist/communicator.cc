#include "worker/engine/dist/communicator.h"

#include <algorithm>

#include "kernels/ops/activation.h"

namespace galleon {

RowRange rows_of_rank(int64_t rows, int rank, int ranks, int64_t unit) {
  const int64_t units = (rows + unit - 1) / unit;
  const int64_t base = units / ranks;
  const int64_t more = units % ranks;
  const int64_t begin = rank * base + std::min<int64_t>(rank, more);
  const int64_t end = begin + base + (rank < more ? 1 : 0);
  return {std::min(begin * unit, rows), std::min(end * unit, rows) - std::min(begin * unit, rows)};
}

void Communicator::move(const void* send, int64_t send_bytes, int to, void* receive, int64_t receive_bytes, int from,
                        int64_t& counter) {
  if (!status_.ok()) return;
  if (to >= 0) counter += send_bytes;
  if (!executes()) return;
  if (send_bytes == 0) to = -1;
  if (receive_bytes == 0) from = -1;
  if (to < 0 && from < 0) return;
  status_ = exchange(send, send_bytes, to, receive, receive_bytes, from);
}

void Communicator::reduce_scatter_rows(const Tensor& x, int64_t unit, DataType wire) {
  if (ranks_ == 1 || !status_.ok()) return;
  GALLEON_CHECK(x.contiguous());
  const RowRange own = rows_of_rank(x.rows, rank_, ranks_, unit);
  const Tensor sum = x.row_range(own.begin, own.count);
  const int64_t largest = rows_of_rank(x.rows, 0, ranks_, unit).count * x.columns;
  const bool converts = x.type != wire;
  const Workspace leaving(device_, converts ? largest * bytes_of(wire) : 0);
  const Workspace arrived(device_, largest * bytes_of(wire));
  const Workspace added(device_, converts ? largest * bytes_of(x.type) : 0);
  // Every piece goes straight to its owner, who adds what arrives in the order of distance: a number is rounded to the
  // wire's type once, whatever the number of ranks.
  for (int distance = 1; distance < ranks_; ++distance) {
    const int to = (rank_ + distance) % ranks_;
    const int from = (rank_ + ranks_ - distance) % ranks_;
    const RowRange out = rows_of_rank(x.rows, to, ranks_, unit);
    Tensor piece = x.row_range(out.begin, out.count);
    if (converts) {
      const Tensor rounded = leaving.tensor(out.count, x.columns, wire);
      convert(device_, piece, rounded);
      piece = rounded;
    }
    const Tensor part = arrived.tensor(own.count, x.columns, wire);
    move(piece.data, piece.bytes(), to, part.data, part.bytes(), from, sent_.reduce_scatter);
    if (!status_.ok()) return;
    if (converts) {
      const Tensor widened = added.tensor(own.count, x.columns, x.type);
      convert(device_, part, widened);
      add(device_, widened, sum);
    } else {
      add(device_, part, sum);
    }
  }
}

void Communicator::all_gather_rows(const Tensor& x, int64_t unit) {
  if (ranks_ == 1 || !status_.ok()) return;
  GALLEON_CHECK(x.contiguous());
  const int next = (rank_ + 1) % ranks_;
  const int previous = (rank_ + ranks_ - 1) % ranks_;
  for (int round = 0; round < ranks_ - 1; ++round) {
    const RowRange out = rows_of_rank(x.rows, (rank_ + ranks_ - round) % ranks_, ranks_, unit);
    const RowRange in = rows_of_rank(x.rows, (rank_ + 2 * ranks_ - round - 1) % ranks_, ranks_, unit);
    const Tensor leaving = x.row_range(out.begin, out.count);
    const Tensor arriving = x.row_range(in.begin, in.count);
    move(leaving.data, leaving.bytes(), next, arriving.data, arriving.bytes(), previous, sent_.all_gather);
  }
}

void Communicator::all_reduce(const Tensor& x) {
  const SentBytes before = sent_;
  const Tensor flat = x.reshape(x.size(), 1);
  reduce_scatter_rows(flat);
  all_gather_rows(flat);
  const int64_t bytes = (sent_ - before).total();
  sent_ = before;
  sent_.all_reduce += bytes;
}

void Communicator::reduce(const Tensor& x, int root) {
  if (ranks_ == 1) return;
  GALLEON_CHECK(x.contiguous());
  if (rank_ != root) {
    move(x.data, x.bytes(), root, nullptr, 0, -1, sent_.all_reduce);
    return;
  }
  const Workspace arrived(device_, x.bytes());
  for (int other = 0; other < ranks_; ++other) {
    if (other == root || !status_.ok()) continue;
    move(nullptr, 0, -1, arrived.data(), x.bytes(), other, sent_.all_reduce);
    if (!status_.ok()) return;
    add(device_, arrived.tensor(x.rows, x.columns), x);
  }
}

void Communicator::broadcast(const Tensor& x, int root) {
  if (ranks_ == 1) return;
  GALLEON_CHECK(x.contiguous());
  // Along the ring from the root, so that no rank sends more than once.
  const int next = (rank_ + 1) % ranks_;
  const int previous = (rank_ + ranks_ - 1) % ranks_;
  if (rank_ != root) move(nullptr, 0, -1, x.data, x.bytes(), previous, sent_.broadcast);
  if (next != root) move(x.data, x.bytes(), next, nullptr, 0, -1, sent_.broadcast);
}

void Communicator::all_reduce_host(std::vector<double>& values) {
  if (ranks_ == 1 || !executes()) return;
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(double));
  int64_t uncounted = 0;
  const int next = (rank_ + 1) % ranks_;
  const int previous = (rank_ + ranks_ - 1) % ranks_;
  std::vector<std::vector<double>> of_rank(ranks_, std::vector<double>(values.size()));
  of_rank[rank_] = values;
  for (int round = 0; round < ranks_ - 1; ++round) {
    const int out = (rank_ + ranks_ - round) % ranks_;
    const int in = (rank_ + 2 * ranks_ - round - 1) % ranks_;
    move(of_rank[out].data(), bytes, next, of_rank[in].data(), bytes, previous, uncounted);
  }
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
  int64_t uncounted = 0;
  const int next = (rank_ + 1) % ranks_;
  const int previous = (rank_ + ranks_ - 1) % ranks_;
  for (int round = 0; round < ranks_ - 1 && status_.ok(); ++round) {
    const int out = (rank_ + ranks_ - round) % ranks_;
    const int in = (rank_ + 2 * ranks_ - round - 1) % ranks_;
    all[in].resize(static_cast<size_t>(sizes[in]));
    move(all[out].data(), static_cast<int64_t>(all[out].size()), next, all[in].data(),
         static_cast<int64_t>(all[in].size()), previous, uncounted);
  }
  return all;
}

namespace {

class SingleCommunicator final : public Communicator {
 public:
  explicit SingleCommunicator(Device& device) : Communicator(device, 0, 1) {}

 protected:
  absl::Status exchange(const void*, int64_t, int, void*, int64_t, int) override { return absl::OkStatus(); }
};

class PlanningCommunicator final : public Communicator {
 public:
  using Communicator::Communicator;

 protected:
  absl::Status exchange(const void*, int64_t, int, void*, int64_t, int) override { return absl::OkStatus(); }
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
