#include "executor_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "executor_context.h"
#include "kernels/math/multiples.h"
#include "kernels/ops/index_check.h"

namespace galleon::executor {
namespace {

constexpr int64_t kReserved = int64_t{4} << 30;
constexpr int64_t kPage = 4096;
constexpr int64_t kAlignment = 512;
// Between two pieces, filled: what writes beyond its piece shows when the piece is given back.
constexpr int64_t kGuard = 512;
constexpr unsigned char kUntouched = 0xa5;

}  // namespace

GuardedMemory::GuardedMemory()
    : base_(
          static_cast<char*>(mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
  GALLEON_CHECK(base_ != MAP_FAILED) << "no addresses for an executor device";
}

GuardedMemory::~GuardedMemory() {
  munmap(base_, kReserved);
}

void* GuardedMemory::allocate(int64_t bytes) {
  bytes = std::max<int64_t>(bytes, 1);  // so that every piece has an address of its own
  void* data = nullptr;
  {
    const std::lock_guard lock(mutex_);
    int64_t offset = kGuard;
    for (const auto& [begin, size] : taken_) {
      if (begin - kGuard - offset >= bytes + kGuard) break;
      offset = round_up(begin + size + kGuard, kAlignment) + kGuard;
    }
    if (offset + bytes + kGuard > kReserved) return nullptr;
    taken_[offset] = bytes;
    const int64_t end = round_up(offset + bytes + kGuard, kPage);
    if (end > used_) {
      used_ = end;
      protect();
    }
    data = base_ + offset;
  }
  open();
  std::memset(data, 0, static_cast<size_t>(bytes));
  std::memset(static_cast<char*>(data) - kGuard, kUntouched, kGuard);
  std::memset(static_cast<char*>(data) + bytes, kUntouched, kGuard);
  close();
  return data;
}

void GuardedMemory::free(void* data) {
  open();
  {
    const std::lock_guard lock(mutex_);
    const auto held = taken_.find(static_cast<char*>(data) - base_);
    GALLEON_CHECK(held != taken_.end()) << "freed what was not allocated";
    const auto* begin = static_cast<const unsigned char*>(data);
    const auto whole = [](const unsigned char* guard) {
      return std::all_of(guard, guard + kGuard, [](unsigned char byte) { return byte == kUntouched; });
    };
    GALLEON_CHECK(whole(begin - kGuard)) << "a kernel wrote before its piece of " << held->second << " bytes";
    GALLEON_CHECK(whole(begin + held->second)) << "a kernel wrote behind its piece of " << held->second << " bytes";
    taken_.erase(held);
  }
  close();
}

void GuardedMemory::open() {
  const std::lock_guard lock(mutex_);
  if (++openings_ == 1) protect();
}

void GuardedMemory::close() {
  const std::lock_guard lock(mutex_);
  if (--openings_ == 0) protect();
}

void GuardedMemory::protect() {
  if (used_ == 0) return;
  GALLEON_CHECK(mprotect(base_, static_cast<size_t>(used_), openings_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE) == 0)
      << "mprotect failed";
}

OpenMemory::OpenMemory(cuda::Context* context) : memory_(context != nullptr ? &context->memory : nullptr) {
  if (memory_ != nullptr) memory_->open();
}
OpenMemory::~OpenMemory() {
  if (memory_ != nullptr) memory_->close();
}

void copy(cuda::Context* context, void* to, const void* from, size_t bytes) {
  const OpenMemory open(context);
  std::memcpy(to, from, bytes);
}

void read(cuda::Context* context, void* to, const void* from, size_t bytes) {
  copy(context, to, from, bytes);
  if (context != nullptr) ++context->reads;
  const OutsideNote& note = *note_memory(context);
  GALLEON_CHECK(!note.found) << outside_text(note.range, note.index, note.value);
}

OutsideNote* note_memory(cuda::Context* context) {
  static thread_local OutsideNote without_context;
  return context != nullptr ? &context->note : &without_context;
}

void* result_memory(cuda::Context* context) {
  static thread_local void* without_context[8];
  return context != nullptr ? context->result : without_context;
}

}  // namespace galleon::executor
