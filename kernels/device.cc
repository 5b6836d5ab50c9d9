#include "kernels/device.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "kernels/math/multiples.h"
#include "kernels/operation_table.h"

namespace galleon {
namespace {

constexpr int64_t kAlignment = 64;

class HostStopwatch final : public Stopwatch {
 public:
  void start() override { start_ = Clock::now(); }
  void stop() override { sum_ += Clock::now() - start_; }
  double take() override { return std::exchange(sum_, {}).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_;
  std::chrono::duration<double> sum_{0};
};

}  // namespace

std::unique_ptr<Stopwatch> Device::make_stopwatch() {
  return std::make_unique<HostStopwatch>();
}

Buffer::Buffer(Buffer&& other) noexcept {
  *this = std::move(other);
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    reset();
    device_ = std::exchange(other.device_, nullptr);
    name_ = std::move(other.name_);
    category_ = other.category_;
    bytes_ = std::exchange(other.bytes_, 0);
    data_ = std::exchange(other.data_, nullptr);
  }
  return *this;
}

Buffer::~Buffer() {
  reset();
}

void Buffer::reset() {
  if (device_ == nullptr) return;
  device_->free_memory(data_, bytes_);
  device_->ledger_.release(name_, category_, bytes_);
  device_ = nullptr;
  bytes_ = 0;
  data_ = nullptr;
}

int64_t Device::panel_bytes() const {
  return operations().panel_bytes;
}
int64_t Device::logit_bytes() const {
  return operations().logit_bytes;
}

void Device::count(const Work& work) {
  work_.flops += work.flops;
  work_.bytes += work.bytes;
  if (watcher_) watcher_(work);
}

absl::StatusOr<Buffer> Device::allocate(absl::string_view name, MemoryCategory category, int64_t bytes) {
  const int64_t rounded = round_up(bytes, kAlignment);
  absl::Status reserved = ledger_.reserve(name, category, rounded);
  if (!reserved.ok()) return reserved;
  void* data = allocate_memory(rounded);
  if (data == nullptr) {
    ledger_.release(name, category, rounded);
    return absl::ResourceExhaustedError(absl::StrCat(memory_text(), " has no memory left for ", rounded, " bytes of ",
                                                     name, " (", category_name(category), "); ", ledger_.total(),
                                                     " bytes are in use", ledger_.largest_text(),
                                                     ". Use a larger one or make the job smaller; `galleon plan` shows "
                                                     "with which keys it would fit."));
  }
  return Buffer(this, std::string(name), category, rounded, data);
}

absl::Status Device::set_workspace_budget(int64_t bytes) {
  GALLEON_CHECK(workspace_used_ == 0) << "the workspace is in use";
  release_workspace();
  ASSIGN_OR_RETURN(workspace_, allocate("workspace", MemoryCategory::kWorkspace, bytes));
  workspace_fixed_ = true;
  return absl::OkStatus();
}

void Device::release_workspace() {
  for (const Piece& piece : idle_) free_memory(piece.data, piece.bytes);
  idle_.clear();
  workspace_ = Buffer();
  workspace_fixed_ = false;
}

// `bytes` becomes the size of what is given. A kept piece may be up to four times as large as what is asked for.
void* Device::take_scratch(int64_t& bytes) {
  auto best = idle_.end();
  for (auto piece = idle_.begin(); piece != idle_.end(); ++piece) {
    if (piece->bytes < bytes || piece->bytes / 4 > bytes) continue;
    if (best == idle_.end() || piece->bytes < best->bytes) best = piece;
  }
  if (best != idle_.end()) {
    const Piece taken = *best;
    idle_.erase(best);
    bytes = taken.bytes;
    return taken.data;
  }
  void* data = allocate_memory(bytes);
  if (data == nullptr && !idle_.empty()) {
    release_workspace();
    data = allocate_memory(bytes);
  }
  return data;
}

void Device::give_scratch(void* data, int64_t bytes) {
  if (keeps_scratch()) {
    idle_.push_back({data, bytes});
  } else {
    free_memory(data, bytes);
  }
}

Workspace::Workspace(Device& device, int64_t bytes)
    : device_(device), bytes_(round_up(bytes, kAlignment)), data_(nullptr) {
  if (device_.workspace_fixed_) {
    GALLEON_CHECK(device_.workspace_used_ + bytes_ <= device_.workspace_.bytes())
        << bytes_ << " bytes of workspace on top of " << device_.workspace_used_ << " exceed the budget of "
        << device_.workspace_.bytes();
    data_ = static_cast<char*>(device_.workspace_.data()) + device_.workspace_used_;
  } else if (bytes_ > 0) {
    capacity_ = bytes_;
    data_ = device_.take_scratch(capacity_);
    GALLEON_CHECK(data_ != nullptr) << device_.memory_text() << " has no memory left for " << bytes_
                                    << " bytes of workspace";
  }
  device_.workspace_used_ += bytes_;
  device_.workspace_peak_ = std::max(device_.workspace_peak_, device_.workspace_used_);
}

Workspace::~Workspace() {
  device_.workspace_used_ -= bytes_;
  if (capacity_ > 0) device_.give_scratch(data_, capacity_);
}

Tensor Workspace::tensor(int64_t rows, int64_t columns, DataType type) const {
  const Tensor view{data_, type, rows, columns, columns};
  GALLEON_CHECK(view.bytes() <= bytes_) << shape_string(view) << " in a piece of " << bytes_ << " bytes";
  return view;
}

Tensor Arena::tensor(absl::string_view name, MemoryCategory category, int64_t rows, int64_t columns, DataType type) {
  if (!status_.ok()) return {};
  GALLEON_CHECK(rows >= 0 && columns >= 0) << std::string(name) << " of " << rows << "x" << columns;
  absl::StatusOr<Buffer> buffer = device_->allocate(name, category, rows * columns * bytes_of(type));
  if (!buffer.ok()) {
    status_ = buffer.status();
    return {};
  }
  buffers_.push_back(*std::move(buffer));
  return {buffers_.back().data(), type, rows, columns, columns};
}

}  // namespace galleon
