#include "executor_device.h"

#include <cstring>
#include <type_traits>

#include "executor_context.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/operation_table.h"

namespace galleon {
namespace {

using executor::OpenMemory;

// The CPU's function behind `member`, called with the executor's memory open.
template <auto family, auto member, typename Result, typename... Parameters>
auto borrowed(Result (*)(const Execution&, Parameters...)) {
  return +[](const Execution& on, Parameters... arguments) -> Result {
    const OpenMemory open(on.cuda);
    const Device& cpu = *on.cuda->cpu;
    if constexpr (std::is_same_v<decltype(family), std::nullptr_t>) {
      return (cpu.operations().*member)(cpu.execution(), arguments...);
    } else {
      return ((cpu.operations().*family).*member)(cpu.execution(), arguments...);
    }
  };
}

template <auto family, typename Functions>
void borrow_products(Functions& functions, const Functions& cpu) {
  functions.matmul = borrowed<family, &Functions::matmul>(cpu.matmul);
  functions.matmul_to_fp32 = borrowed<family, &Functions::matmul_to_fp32>(cpu.matmul_to_fp32);
  functions.matmul_workspace = cpu.matmul_workspace;
}

OperationTable executor_operations(const OperationTable& cpu) {
  OperationTable table{};
  cuda::fill_kernels(table);
  borrow_products<&OperationTable::f32>(table.f32, cpu.f32);
  borrow_products<&OperationTable::bf16>(table.bf16, cpu.bf16);
  table.right_singular_vectors = borrowed<nullptr, &OperationTable::right_singular_vectors>(cpu.right_singular_vectors);
  table.right_singular_vectors_workspace = cpu.right_singular_vectors_workspace;
  table.orthonormalize = borrowed<nullptr, &OperationTable::orthonormalize>(cpu.orthonormalize);
  table.orthonormalize_workspace = cpu.orthonormalize_workspace;
  return table;
}

class ExecutorDevice final : public Device {
 public:
  ExecutorDevice() : operations_(executor_operations(context_.cpu->operations())) {
    execution_.cuda = &context_;
    context_.result = context_.memory.allocate(64);
  }
  ~ExecutorDevice() override { release_workspace(); }

  absl::string_view kind() const override { return "cuda"; }
  bool executes() const override { return true; }
  const OperationTable& operations() const override { return operations_; }
  const Execution& execution() const override { return execution_; }
  void upload(const Tensor& to, const void* from) override {
    GALLEON_CHECK(to.contiguous()) << shape_string(to);
    executor::copy(execution_.cuda, to.data, from, static_cast<size_t>(to.bytes()));
  }
  void download(void* to, const Tensor& from) override {
    GALLEON_CHECK(from.contiguous()) << shape_string(from);
    executor::read(execution_.cuda, to, from.data, static_cast<size_t>(from.bytes()));
  }

 protected:
  void* allocate_memory(int64_t bytes) override { return context_.memory.allocate(bytes); }
  void free_memory(void* data, int64_t) override { context_.memory.free(data); }

 private:
  cuda::Context context_;
  Execution execution_;
  const OperationTable operations_;
};

}  // namespace

std::unique_ptr<Device> make_executor_device() {
  return std::make_unique<ExecutorDevice>();
}

}  // namespace galleon
