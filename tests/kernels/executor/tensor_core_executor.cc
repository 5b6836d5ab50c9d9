#include "tensor_core_executor.h"

#include <array>
#include <cstring>
#include <deque>
#include <vector>

#include "common/base/check.h"

namespace galleon::cuda {
namespace {

constexpr unsigned kLanes = 32;
constexpr unsigned kEveryLane = 0xffffffffU;
constexpr unsigned kMostThreads = 1024;

unsigned own_lane() {
  return executor::here->linear % kLanes;
}

// The lower or the upper number of a pair.
float number_of(uint32_t pair, unsigned which) {
  return math::to_float(BFloat16{static_cast<uint16_t>(pair >> (16 * which))});
}

template <typename T>
std::array<T, kLanes> from_all_lanes(const T& own) {
  unsigned char all[kLanes][16];
  executor::exchange(kEveryLane, &own, sizeof(T), all);
  std::array<T, kLanes> values;
  for (unsigned lane = 0; lane < kLanes; ++lane) std::memcpy(&values[lane], all[lane], sizeof(T));
  return values;
}

struct Row {
  uint16_t number[8];
};

// The rows of four matrices by lane. They are read before lanes go on, as one instruction reads them on a GPU.
std::array<Row, kLanes> matrix_rows(SharedAddress row) {
  executor::check_aligned(reinterpret_cast<const void*>(row), 16);
  Row own;
  std::memcpy(&own, reinterpret_cast<const void*>(row), sizeof(own));
  return from_all_lanes(own);
}

struct Copy {
  void* to;
  const void* from;
  bool valid;
};
struct Copies {
  std::deque<std::vector<Copy>> groups;
  std::vector<Copy> open;
};

void carry_out(const Copy& copy) {
  if (copy.valid) {
    std::memcpy(copy.to, copy.from, 16);
  } else {
    std::memset(copy.to, 0, 16);
  }
}

Copies& copies_of_thread() {
  static thread_local std::array<Copies, kMostThreads> copies;
  return copies[executor::here->linear];
}

}  // namespace

void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const auto all_a = from_all_lanes(std::array<uint32_t, 4>{a[0], a[1], a[2], a[3]});
  const auto all_b = from_all_lanes(std::array<uint32_t, 2>{b0, b1});
  const unsigned lane = own_lane();
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4 + 8 * (i / 2);
    const unsigned column = 2 * (lane % 4) + i % 2;
    float sum = d[i];
    for (unsigned k = 0; k < 16; ++k) {
      const uint32_t pair_a = all_a[row % 8 * 4 + k % 8 / 2][row / 8 + 2 * (k / 8)];
      const uint32_t pair_b = all_b[column * 4 + k % 8 / 2][k / 8];
      sum += number_of(pair_a, k % 2) * number_of(pair_b, k % 2);
    }
    d[i] = sum;
  }
}

void load_matrix_x4(uint32_t (&r)[4], SharedAddress row) {
  const std::array<Row, kLanes> rows = matrix_rows(row);
  const unsigned lane = own_lane();
  for (unsigned m = 0; m < 4; ++m) {
    const uint16_t* numbers = rows[8 * m + lane / 4].number + 2 * (lane % 4);
    r[m] = numbers[0] | static_cast<uint32_t>(numbers[1]) << 16;
  }
}

void load_matrix_x4_transposed(uint32_t (&r)[4], SharedAddress row) {
  const std::array<Row, kLanes> rows = matrix_rows(row);
  const unsigned lane = own_lane();
  for (unsigned m = 0; m < 4; ++m) {
    const Row* pair = &rows[8 * m + 2 * (lane % 4)];
    r[m] = pair[0].number[lane / 4] | static_cast<uint32_t>(pair[1].number[lane / 4]) << 16;
  }
}

void copy_async(SharedAddress to, const void* from, bool valid) {
  executor::check_aligned(reinterpret_cast<const void*>(to), 16);
  executor::check_aligned(from, 16);
  const Copy copy{reinterpret_cast<void*>(to), from, valid};
  if (executor::here->block.x % 2 != 0) {
    carry_out(copy);
  } else {
    copies_of_thread().open.push_back(copy);
  }
}

void copy_async_commit() {
  Copies& copies = copies_of_thread();
  copies.groups.push_back(std::move(copies.open));
  copies.open.clear();
}

void copy_async_wait_for(int pending) {
  Copies& copies = copies_of_thread();
  while (copies.groups.size() > static_cast<size_t>(pending)) {
    for (const Copy& copy : copies.groups.front()) carry_out(copy);
    copies.groups.pop_front();
  }
}

}  // namespace galleon::cuda
