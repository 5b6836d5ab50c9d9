#include "executor_memory.h"

#include <sys/mman.h>
#include <unistd.h>

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
constexpr int kMostWalls = 32;
constexpr int64_t kCounted = 64;  // what a device rounds sizes up to

// Filled bytes behind a piece: with a wall, up to it.
int64_t guard_behind(int64_t offset, const GuardedMemory::Piece& piece) {
  return piece.walled ? round_up(offset + piece.bytes, kPage) - offset - piece.bytes : kGuard;
}

}  // namespace

GuardedMemory::GuardedMemory()
    : base_(
          static_cast<char*>(mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))),
      nothing_(memfd_create("executor wall", MFD_CLOEXEC)) {
  GALLEON_CHECK(base_ != MAP_FAILED && nothing_ >= 0) << "no addresses for an executor device";
}

GuardedMemory::~GuardedMemory() {
  munmap(base_, kReserved);
  ::close(nothing_);
}

void* GuardedMemory::allocate(int64_t bytes) {
  bytes = std::max<int64_t>(bytes, 1);  // so that every piece has an address of its own
  void* data = nullptr;
  int64_t behind = kGuard;
  {
    const std::lock_guard lock(mutex_);
    const bool walled = walls_ < kMostWalls;
    // With a wall a piece ends where a page does; what is counted in 64 bytes is whole.
    const auto begin_after = [&](int64_t free) {
      const int64_t least = round_up(free, kAlignment) + kGuard;
      const int64_t counted = round_up(bytes, kCounted);
      return walled ? round_up(least + counted, kPage) - counted : least;
    };
    const auto end_of = [](int64_t begin, const Piece& piece) {
      return piece.walled ? round_up(begin + piece.bytes, kPage) + kPage : begin + piece.bytes + kGuard;
    };
    int64_t offset = begin_after(0);
    for (const auto& [begin, piece] : taken_) {
      if (begin - kGuard >= end_of(offset, {bytes, walled})) break;
      offset = begin_after(end_of(begin, piece));
    }
    const int64_t end = round_up(end_of(offset, {bytes, walled}), kPage);
    if (end > kReserved) return nullptr;
    taken_[offset] = {bytes, walled};
    if (end > used_) {
      used_ = end;
      protect();
    }
    if (walled) {
      ++walls_;
      void* wall = mmap(base_ + end - kPage, kPage, protection(), MAP_SHARED | MAP_FIXED, nothing_, 0);
      GALLEON_CHECK(wall != MAP_FAILED) << "no wall";
    }
    data = base_ + offset;
    behind = guard_behind(offset, taken_[offset]);
  }
  open();
  std::memset(data, 0, static_cast<size_t>(bytes));
  std::memset(static_cast<char*>(data) - kGuard, kUntouched, kGuard);
  std::memset(static_cast<char*>(data) + bytes, kUntouched, static_cast<size_t>(behind));
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
    const auto [bytes, walled] = held->second;
    const auto whole = [](const unsigned char* guard, int64_t size) {
      return std::all_of(guard, guard + size, [](unsigned char byte) { return byte == kUntouched; });
    };
    GALLEON_CHECK(whole(begin - kGuard, kGuard)) << "a kernel wrote before its piece of " << bytes << " bytes";
    GALLEON_CHECK(whole(begin + bytes, guard_behind(held->first, held->second)))
        << "a kernel wrote behind its piece of " << bytes << " bytes";
    if (walled) {
      --walls_;
      void* wall = base_ + round_up(held->first + bytes, kPage);
      GALLEON_CHECK(mmap(wall, kPage, protection(), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) !=
                    MAP_FAILED);
    }
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

int GuardedMemory::protection() const {
  return openings_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE;
}

void GuardedMemory::protect() {
  if (used_ == 0) return;
  GALLEON_CHECK(mprotect(base_, static_cast<size_t>(used_), protection()) == 0) << "mprotect failed";
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
