#include <omp.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/cpu/blas.h"
#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/loops/loops.h"
#include "kernels/cpu/low_precision.h"
#include "kernels/device.h"
#include "kernels/math/multiples.h"

namespace galleon {
namespace {

struct InstructionSet {
  absl::string_view name;
  bool available;
  OperationTable table;
};

template <typename Fill>
OperationTable table_with(Fill fill, bool generated_products) {
  OperationTable table{};
  fill(table);
  cpu::fill_gemm_operations(table, generated_products);
  cpu::fill_singular_vector_operations(table);
  cpu::fill_orthonormal_operations(table);
  return table;
}

const std::vector<InstructionSet>& instruction_sets() {
  static const auto* sets = [] {
    auto* list = new std::vector<InstructionSet>;
    list->push_back({"baseline", true, table_with(cpu::baseline::fill_operations, false)});
#ifdef GALLEON_X86_VARIANTS
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    list->push_back({"avx2", avx2, table_with(cpu::avx2::fill_operations, false)});
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    list->push_back({"avx512", avx512, table_with(cpu::avx512::fill_operations, true)});
#endif
    return list;
  }();
  return *sets;
}

const InstructionSet& best() {
  const std::vector<InstructionSet>& sets = instruction_sets();
  return *std::find_if(sets.rbegin(), sets.rend(), [](const InstructionSet& set) { return set.available; });
}

int usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return omp_get_num_procs();
  return std::max(1, CPU_COUNT(&set));
}

// Beyond this size memory comes straight from the kernel, in huge pages where it has them: products of large matrices
// otherwise spend much of their time on missing page-table entries.
constexpr int64_t kMappedBytes = int64_t{4} << 20;
constexpr int64_t kHugePage = int64_t{2} << 20;

class CpuDevice final : public Device {
 public:
  CpuDevice(const OperationTable& operations, int threads)
      : operations_(operations), execution_{threads > 0 ? threads : usable_cores(), &products_} {}
  ~CpuDevice() override { release_workspace(); }

  absl::string_view kind() const override { return "cpu"; }
  bool executes() const override { return true; }
  const OperationTable& operations() const override { return operations_; }
  const Execution& execution() const override { return execution_; }
  void upload(const Tensor& to, const void* from) override {
    GALLEON_CHECK(to.contiguous()) << shape_string(to);
    std::memcpy(to.data, from, static_cast<size_t>(to.bytes()));
  }
  void download(void* to, const Tensor& from) override {
    GALLEON_CHECK(from.contiguous()) << shape_string(from);
    std::memcpy(to, from.data, static_cast<size_t>(from.bytes()));
  }

 protected:
  void* allocate_memory(int64_t bytes) override {
    if (bytes < kMappedBytes) {
      const int64_t size = std::max<int64_t>(bytes, 64);
      void* data = std::aligned_alloc(64, static_cast<size_t>(size));
      if (data != nullptr) std::memset(data, 0, static_cast<size_t>(size));
      return data;
    }
    // Over-mapped so that the piece that is kept begins at a huge page.
    const auto length = static_cast<size_t>(bytes + kHugePage);
    void* mapped = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    char* begin = static_cast<char*>(mapped);
    const uintptr_t misaligned = reinterpret_cast<uintptr_t>(begin) % kHugePage;
    char* data = misaligned == 0 ? begin : begin + (kHugePage - misaligned);
    char* end = data + page_aligned(bytes);
    if (data > begin) munmap(begin, static_cast<size_t>(data - begin));
    if (end < begin + length) munmap(end, static_cast<size_t>(begin + length - end));
    madvise(data, static_cast<size_t>(page_aligned(bytes)), MADV_HUGEPAGE);
    touch(data, bytes);
    return data;
  }

  void free_memory(void* data, int64_t bytes) override {
    if (bytes < kMappedBytes) {
      std::free(data);
    } else {
      munmap(data, static_cast<size_t>(page_aligned(bytes)));
    }
  }

 private:
  static int64_t page_aligned(int64_t bytes) { return round_up(bytes, 4096); }

  // First touch by the threads that will use it, and no page fault later in the middle of a step.
  void touch(char* data, int64_t bytes) const {
    const int64_t pieces = ceil_div(bytes, kHugePage);
#pragma omp parallel for num_threads(execution_.threads) schedule(static)
    for (int64_t i = 0; i < pieces; ++i) {
      std::memset(data + i * kHugePage, 0, static_cast<size_t>(std::min(kHugePage, bytes - i * kHugePage)));
    }
  }

  const OperationTable& operations_;
  cpu::ProductCache products_;
  const Execution execution_;
};

}  // namespace

const OperationTable& cpu_operations() {
  return best().table;
}

std::vector<absl::string_view> cpu_instruction_sets() {
  std::vector<absl::string_view> names;
  for (const InstructionSet& set : instruction_sets()) {
    if (set.available) names.push_back(set.name);
  }
  return names;
}

std::unique_ptr<Device> make_cpu_device_for(absl::string_view instruction_set, int threads) {
  for (const InstructionSet& set : instruction_sets()) {
    if (set.available && set.name == instruction_set) return std::make_unique<CpuDevice>(set.table, threads);
  }
  GALLEON_CHECK(false) << "this machine has no " << std::string(instruction_set);
  return nullptr;
}

std::unique_ptr<Device> make_cpu_device(int threads) {
  return std::make_unique<CpuDevice>(best().table, threads);
}

}  // namespace galleon
