// The only interface between numerics and hardware: memory by category, the ledger, a workspace of fixed size, counters
// of work, and the table of operations. The CPU device executes; the planning device takes the same calls and only
// counts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/ledger.h"
#include "kernels/stopwatch.h"
#include "kernels/tensor.h"

namespace galleon {

struct OperationTable;
struct Execution;
class Device;

// Owns one allocation of a device; gives it back to the device and its ledger.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device* device, std::string name, MemoryCategory category, int64_t bytes, void* data)
      : device_(device), name_(std::move(name)), category_(category), bytes_(bytes), data_(data) {}
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();
  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  void reset();
  Device* device_ = nullptr;
  std::string name_;
  MemoryCategory category_ = MemoryCategory::kWorkspace;
  int64_t bytes_ = 0;
  void* data_ = nullptr;
};

// What an operation is to a machine: what limits it, and whose part of a step it is.
enum class WorkKind { kMemory, kProduct, kAttention, kOptimizer, kBasis };
inline constexpr int kWorkKinds = 5;

// One operation's work: `numbers` is the type of what it multiplies.
struct Work {
  WorkKind kind;
  DataType numbers;
  double flops;
  double bytes;
};

// Work done since the last reset, as the wrappers of the operations count it.
struct WorkCounters {
  double flops = 0;  // multiplications and additions
  double bytes = 0;  // read and written by the operations, each operand once
};

class Device {
 public:
  virtual ~Device() = default;

  virtual absl::string_view kind() const = 0;  // "cpu", "cuda", "planning"
  // Whether operations do anything. A device that does not execute hands out addresses that must not be read.
  virtual bool executes() const = 0;
  // Never null; a planning device has the table of the device that it plans for, to ask it for workspace sizes.
  virtual const OperationTable& operations() const = 0;
  // How much of what passes from one operation to the next suits the machine: bytes of an update in fp32, of some rows
  // of a matrix, and of logits in fp32, of some tokens.
  int64_t panel_bytes() const;
  int64_t logit_bytes() const;
  // What the table's functions need to know of this device.
  virtual const Execution& execution() const = 0;

  // A zeroed allocation, 64-byte aligned; `bytes` is rounded up to 64 before it is counted.
  // RESOURCE_EXHAUSTED: the ledger's limit, or the machine's memory.
  absl::StatusOr<Buffer> allocate(absl::string_view name, MemoryCategory category, int64_t bytes);

  // Scratch for operations. While no budget is set (a planning device) the workspace grows and its high-water mark is
  // what workspace_peak() returns; with a budget it is one buffer, and an operation that needs more is a bug that
  // aborts.
  absl::Status set_workspace_budget(int64_t bytes);
  int64_t workspace_peak() const { return workspace_peak_; }

  // Copies between host memory and a contiguous tensor. Nothing happens on a device that does not execute.
  virtual void upload(const Tensor& to, const void* from) = 0;
  virtual void download(void* to, const Tensor& from) = 0;

  // By the host's clock where operations are done when they return, else by the device's own. Must not outlive the
  // device.
  virtual std::unique_ptr<Stopwatch> make_stopwatch();

  Ledger& ledger() { return ledger_; }
  const Ledger& ledger() const { return ledger_; }
  WorkCounters& work() { return work_; }
  // Adds to the counters, and tells the watcher if there is one.
  void count(const Work& work);
  void watch_work(std::function<void(const Work&)> watcher) { watcher_ = std::move(watcher); }

 protected:
  virtual void* allocate_memory(int64_t bytes) = 0;  // nullptr: no memory left
  virtual void free_memory(void* data, int64_t bytes) = 0;
  // Whether scratch memory without a budget is kept for the next operation, because allocating is slow.
  virtual bool keeps_scratch() const { return false; }
  // Whose memory is used up, for a sentence: "the machine", or a card with its figures.
  virtual std::string memory_text() const { return "the machine"; }
  // Every destructor of a device calls this, while the memory can still be given back.
  void release_workspace();

 private:
  friend class Buffer;
  friend class Workspace;
  Ledger ledger_;
  WorkCounters work_;
  std::function<void(const Work&)> watcher_;
  struct Piece {
    void* data;
    int64_t bytes;
  };
  void* take_scratch(int64_t& bytes);
  void give_scratch(void* data, int64_t bytes);

  std::vector<Piece> idle_;  // of scratch memory that is kept
  Buffer workspace_;
  bool workspace_fixed_ = false;
  int64_t workspace_used_ = 0;
  int64_t workspace_peak_ = 0;
};

// A piece of the device's workspace for the lifetime of this object; a stack: pieces are given back in reverse order.
// Contents are undefined at first.
class Workspace {
 public:
  Workspace(Device& device, int64_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return data_; }
  // From the start of the piece.
  Tensor tensor(int64_t rows, int64_t columns, DataType type = DataType::kFloat32) const;

 private:
  Device& device_;
  int64_t bytes_;
  void* data_;
  int64_t capacity_ = 0;
};

// Allocations that belong together. Errors are sticky: after a failed allocation every further tensor is empty, and
// status() says what went wrong first; look at it before using any of them.
class Arena {
 public:
  explicit Arena(Device& device) : device_(&device) {}
  Tensor tensor(absl::string_view name, MemoryCategory category, int64_t rows, int64_t columns,
                DataType type = DataType::kFloat32);
  const absl::Status& status() const { return status_; }
  Device& device() const { return *device_; }

 private:
  Device* device_;
  absl::Status status_;
  std::vector<Buffer> buffers_;
};

// `threads`: size of the thread pool shared with the BLAS; 0: all cores that the process may use.
std::unique_ptr<Device> make_cpu_device(int threads);
// Counts what a device of that kind would hold, on any machine. `kind`: "cpu" or "cuda".
std::unique_ptr<Device> make_planning_device(absl::string_view kind);

}  // namespace galleon
