#undef _FORTIFY_SOURCE  // its longjmp refuses to change stacks

#include "simt_executor.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "common/base/check.h"
#include "executor_memory.h"

namespace galleon::executor {

thread_local Place* here = nullptr;

namespace {

constexpr unsigned kLanes = 32;
constexpr size_t kStackBytes = size_t{256} << 10;
constexpr size_t kMostShared = size_t{227} << 10;  // of a block on sm_90

enum class State { kReady, kAtBlock, kAtWarp, kEnded };

struct Fiber {
  jmp_buf at;
  void* stack = nullptr;
  ucontext_t start;
  bool begun = false;
  Place place;
  State state = State::kEnded;
  unsigned mask = 0;  // of the exchange that it waits in
  unsigned exchanges = 0;
};

// What the lanes of a warp bring to an exchange. Two sets: a lane may come to the next exchange before another has
// read the last one, and no further.
struct Warp {
  unsigned char brought[2][kLanes][16];
};

class Block {
 public:
  ~Block() {
    for (const std::unique_ptr<Fiber>& fiber : fibers_) munmap(fiber->stack, kStackBytes);
  }

  void run(dim3 grid, dim3 block, size_t shared, const std::function<void()>& body) {
    GALLEON_CHECK(body_ == nullptr) << "a kernel launched a kernel";
    const unsigned threads = block.x * block.y * block.z;
    GALLEON_CHECK(threads >= 1 && threads <= 1024) << "a block of " << threads << " threads";
    GALLEON_CHECK(grid.x >= 1 && grid.y >= 1 && grid.z >= 1 && grid.y <= 65535 && grid.z <= 65535)
        << "a grid of " << grid.x << "x" << grid.y << "x" << grid.z << " blocks";
    GALLEON_CHECK(shared <= kMostShared) << shared << " bytes of shared memory";
    body_ = &body;
    threads_ = threads;
    shared_bytes_ = shared;
    // With a guard behind it, which is looked at when a block has ended.
    shared_.assign(shared / sizeof(uint32_t) + 64, 0);
    while (fibers_.size() < threads) fibers_.push_back(make_fiber());
    warps_.resize((threads + kLanes - 1) / kLanes);
    for (unsigned z = 0; z < grid.z; ++z) {
      for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) run_block(dim3(x, y, z), grid, block);
      }
    }
    body_ = nullptr;
  }

  void* shared() { return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(shared_.data()) + 15) / 16 * 16); }

  void wait_for_block() {
    current_->state = State::kAtBlock;
    back_to_scheduler();
  }

  void exchange(unsigned mask, const void* own, size_t bytes, unsigned char (*all)[16]) {
    Fiber& fiber = *current_;
    const unsigned lane = fiber.place.linear % kLanes;
    GALLEON_CHECK((mask >> lane & 1U) != 0) << "lane " << lane << " exchanges under a mask without it";
    Warp& warp = warps_[fiber.place.linear / kLanes];
    const unsigned set = fiber.exchanges++ % 2;
    std::memcpy(warp.brought[set][lane], own, bytes);
    fiber.mask = mask;
    fiber.state = State::kAtWarp;
    back_to_scheduler();
    if (bytes > 0) std::memcpy(all, warp.brought[set], sizeof(warp.brought[set]));
  }

 private:
  static std::unique_ptr<Fiber> make_fiber() {
    auto fiber = std::make_unique<Fiber>();
    fiber->stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GALLEON_CHECK(fiber->stack != MAP_FAILED) << "no memory for the stack of a fiber";
    return fiber;
  }

  // A fiber lives as long as this object: it runs one thread after the other.
  static void fiber_main(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<Block*>(static_cast<uintptr_t>(high) << 32 | low);
    for (;;) {
      (*self->body_)();
      self->current_->state = State::kEnded;
      self->back_to_scheduler();
    }
  }

  void resume(Fiber& fiber) {
    current_ = &fiber;
    here = &fiber.place;
    if (_setjmp(scheduler_) == 0) {
      if (fiber.begun) _longjmp(fiber.at, 1);
      fiber.begun = true;
      getcontext(&fiber.start);
      fiber.start.uc_stack.ss_sp = fiber.stack;
      fiber.start.uc_stack.ss_size = kStackBytes;
      fiber.start.uc_link = nullptr;
      const auto self = reinterpret_cast<uintptr_t>(this);
      makecontext(&fiber.start, reinterpret_cast<void (*)()>(fiber_main), 2, static_cast<unsigned>(self >> 32),
                  static_cast<unsigned>(self));
      setcontext(&fiber.start);
    }
    here = nullptr;
  }

  void back_to_scheduler() {
    if (_setjmp(current_->at) == 0) _longjmp(scheduler_, 1);
  }

  void run_block(dim3 index, dim3 grid, dim3 size) {
    std::memset(shared_.data(), 0xff, shared_.size() * sizeof(uint32_t));  // NaN in every type of floating point
    unsigned linear = 0;
    for (unsigned z = 0; z < size.z; ++z) {
      for (unsigned y = 0; y < size.y; ++y) {
        for (unsigned x = 0; x < size.x; ++x, ++linear) {
          Fiber& fiber = *fibers_[linear];
          fiber.place = Place{dim3(x, y, z), index, size, grid, linear};
          fiber.state = State::kReady;
          fiber.exchanges = 0;
        }
      }
    }
    // A warp runs as far as it can before another moves, from barrier to barrier the first or the last of them ahead: a
    // barrier that is missing between warps changes the result. In odd blocks the lanes of a warp move in descending
    // order, so that what one lane leaves for the next without an exchange changes it too.
    descending_ = (index.x + index.y + index.z) % 2 != 0;
    const unsigned warps = (threads_ + kLanes - 1) / kLanes;
    bool backwards = (index.x + index.y + index.z) % 2 != 0;
    do {
      for (unsigned n = 0; n < warps; ++n) run_warp(backwards ? warps - 1 - n : n);
      backwards = !backwards;
    } while (release_block());
    const auto* guard = static_cast<const unsigned char*>(shared()) + shared_bytes_;
    const auto* end = reinterpret_cast<const unsigned char*>(shared_.data() + shared_.size());
    GALLEON_CHECK(std::all_of(guard, end, [](unsigned char byte) { return byte == 0xff; }))
        << "block " << index.x << "," << index.y << "," << index.z << " wrote beyond its " << shared_bytes_
        << " bytes of shared memory";
  }

  // Until each of its threads waits for the block or has ended.
  void run_warp(unsigned warp) {
    bool moved = true;
    while (moved) {
      moved = false;
      const unsigned begin = warp * kLanes;
      const unsigned end = warp_end(warp);
      for (unsigned n = begin; n < end; ++n) {
        Fiber& fiber = *fibers_[descending_ ? end - 1 - (n - begin) : n];
        if (fiber.state != State::kReady) continue;
        resume(fiber);
        moved = true;
      }
      moved = release_warp(warp) || moved;
    }
  }

  unsigned warp_end(unsigned warp) const { return std::min(threads_, (warp + 1) * kLanes); }

  // Lets the lanes go on whose exchange is complete.
  bool release_warp(unsigned warp) {
    const unsigned begin = warp * kLanes;
    bool released = false;
    for (unsigned t = begin; t < warp_end(warp); ++t) {
      if (fibers_[t]->state != State::kAtWarp) continue;
      const unsigned mask = fibers_[t]->mask;
      bool complete = true;
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        if ((mask >> lane & 1U) == 0) continue;
        GALLEON_CHECK(begin + lane < threads_ && fibers_[begin + lane]->state != State::kEnded)
            << "a warp exchanges with lane " << lane << ", which has ended";
        const Fiber& other = *fibers_[begin + lane];
        complete = complete && other.state == State::kAtWarp && other.mask == mask;
      }
      if (!complete) continue;
      const unsigned number = fibers_[t]->exchanges;
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        if ((mask >> lane & 1U) == 0) continue;
        Fiber& other = *fibers_[begin + lane];
        // Lanes whose numbers have come apart would read the wrong set.
        GALLEON_CHECK(other.exchanges % 2 == number % 2)
            << "lanes of a warp meet after different numbers of exchanges; use __syncwarp over all of them";
        other.state = State::kReady;
      }
      released = true;
    }
    return released;
  }

  // When nothing else moves: all threads that have not ended wait for the block, or there are none. False: none.
  bool release_block() {
    unsigned waiting = 0;
    unsigned ended = 0;
    for (unsigned t = 0; t < threads_; ++t) {
      waiting += fibers_[t]->state == State::kAtBlock ? 1 : 0;
      ended += fibers_[t]->state == State::kEnded ? 1 : 0;
    }
    GALLEON_CHECK(waiting == 0 || ended == 0)
        << waiting << " threads of a block wait at a barrier that " << ended << " never reached";
    GALLEON_CHECK(waiting + ended == threads_)
        << "threads of a block wait for each other in different places: " << waiting << " at the block's barrier, "
        << threads_ - waiting - ended << " within a warp";
    if (waiting == 0) return false;
    for (unsigned t = 0; t < threads_; ++t) fibers_[t]->state = State::kReady;
    return true;
  }

  const std::function<void()>* body_ = nullptr;
  unsigned threads_ = 0;
  size_t shared_bytes_ = 0;
  bool descending_ = false;
  std::vector<uint32_t> shared_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Warp> warps_;
  Fiber* current_ = nullptr;
  jmp_buf scheduler_;
};

Block& block_of_thread() {
  static thread_local Block block;
  return block;
}

}  // namespace

void run(cuda::Context* context, dim3 grid, dim3 block, size_t shared, const std::function<void()>& body) {
  const OpenMemory open(context);
  block_of_thread().run(grid, block, shared, body);
}

void* dynamic_shared() {
  return block_of_thread().shared();
}
void block_barrier() {
  block_of_thread().wait_for_block();
}
void exchange(unsigned mask, const void* own, size_t bytes, unsigned char (*all)[16]) {
  block_of_thread().exchange(mask, own, bytes, all);
}
void check_aligned(const void* at, size_t bytes) {
  GALLEON_CHECK(reinterpret_cast<uintptr_t>(at) % bytes == 0)
      << "an access of " << bytes << " bytes at an address that is not a multiple of it";
}

}  // namespace galleon::executor
