// Sums in double over fixed blocks, added in the order of the blocks, so that threads do not change the result.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/bits.h"
#include "kernels/math/mix.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kBlock = 16384;
constexpr int64_t blocks_of(int64_t rows, int64_t n) {
  return rows * ceil_div(n, kBlock);
}

int64_t sum_workspace(int64_t rows, int64_t n) {
  return blocks_of(rows, n) * static_cast<int64_t>(sizeof(double));
}

template <typename T, typename Term>
inline __attribute__((always_inline)) double reduce(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x,
                                                    void* scratch, Term term) {
  double* partial = static_cast<double*>(scratch);
  const int64_t per_row = ceil_div(n, kBlock);
  const int64_t blocks = rows * per_row;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 100))
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = block % per_row * kBlock;
    const int64_t count = n - begin < kBlock ? n - begin : kBlock;
    const T* a = x.row(block / per_row) + begin;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i) sum += term(static_cast<double>(math::load(a[i])));
    partial[block] = sum;
  }
  double total = 0.0;
  for (int64_t block = 0; block < blocks; ++block) total += partial[block];
  return total;
}

template <typename T>
double sum_of_squares(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, void* scratch) {
  return reduce(on, rows, n, x, scratch, [](double a) { return a * a; });
}

double sum(const Execution& on, int64_t rows, int64_t n, Matrix<const float> x, void* scratch) {
  return reduce(on, rows, n, x, scratch, [](double a) { return a; });
}

template <typename T>
bool all_finite(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x) {
  const int64_t per_row = ceil_div(n, kBlock);
  int found = 0;
#pragma omp parallel for num_threads(on.threads) schedule(static) reduction(| : found) if (worth_threads(rows * n, 100))
  for (int64_t block = 0; block < rows * per_row; ++block) {
    const int64_t begin = block % per_row * kBlock;
    const int64_t count = n - begin < kBlock ? n - begin : kBlock;
    const T* a = x.row(block / per_row) + begin;
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (int64_t i = 0; i < count; ++i) bad |= (math::bits_of(math::load(a[i])) & 0x7f800000U) == 0x7f800000U ? 1U : 0U;
    found |= static_cast<int>(bad);
  }
  return found == 0;
}

template <typename T>
void note_sum_of_squares(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, double* to, void* scratch) {
  *to = sum_of_squares(on, rows, n, x, scratch);
}

int64_t hash_bytes_workspace(int64_t bytes) {
  return ceil_div(bytes, math::kHashBlockBytes) * static_cast<int64_t>(sizeof(uint64_t));
}

// A block is read as words of 8 bytes, dealt to 8 lanes in turn; a last piece of fewer bytes is padded with zeros, and
// the number of bytes is part of the hash.
uint64_t hash_block(const char* data, int64_t bytes, uint64_t index) {
  uint64_t lane[math::kHashLanes];
  for (int l = 0; l < math::kHashLanes; ++l) {
    lane[l] = math::hash_lane(index, static_cast<uint64_t>(l));
  }
  constexpr int64_t stripe = math::kHashLanes * 8;
  int64_t at = 0;
  for (; at + stripe <= bytes; at += stripe) {
    uint64_t word[math::kHashLanes];
    __builtin_memcpy(word, data + at, stripe);
    for (int l = 0; l < math::kHashLanes; ++l) lane[l] = math::absorb(lane[l], word[l]);
  }
  if (at < bytes) {
    uint64_t word[math::kHashLanes] = {};
    __builtin_memcpy(word, data + at, static_cast<std::size_t>(bytes - at));
    for (int l = 0; l < math::kHashLanes; ++l) lane[l] = math::absorb(lane[l], word[l]);
  }
  uint64_t hash = math::avalanche(static_cast<uint64_t>(bytes) + 1);
  for (int l = 0; l < math::kHashLanes; ++l) hash = math::avalanche(math::absorb(hash, lane[l]));
  return hash;
}

uint64_t hash_bytes(const Execution& on, const void* data, int64_t bytes, void* scratch) {
  uint64_t* partial = static_cast<uint64_t*>(scratch);
  const char* begin = static_cast<const char*>(data);
  const int64_t blocks = ceil_div(bytes, math::kHashBlockBytes);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(bytes, 50))
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t left = bytes - block * math::kHashBlockBytes;
    partial[block] =
        hash_block(begin + block * math::kHashBlockBytes, left < math::kHashBlockBytes ? left : math::kHashBlockBytes,
                   static_cast<uint64_t>(block));
  }
  uint64_t hash = math::avalanche(static_cast<uint64_t>(bytes) + 1);
  for (int64_t block = 0; block < blocks; ++block) hash = math::avalanche(math::absorb(hash, partial[block]));
  return hash;
}

}  // namespace

void fill_reductions(OperationTable& table) {
  table.f32.sum_of_squares = sum_of_squares<float>;
  table.bf16.sum_of_squares = sum_of_squares<BFloat16>;
  table.f32.note_sum_of_squares = note_sum_of_squares<float>;
  table.bf16.note_sum_of_squares = note_sum_of_squares<BFloat16>;
  table.sum = sum;
  table.sum_workspace = sum_workspace;
  table.f32.all_finite = all_finite<float>;
  table.bf16.all_finite = all_finite<BFloat16>;
  table.hash_bytes = hash_bytes;
  table.hash_bytes_workspace = hash_bytes_workspace;
}

}  // namespace galleon::cpu::GALLEON_ISA
