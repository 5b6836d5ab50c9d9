// Takes the same calls as the device that it plans for, and counts. Its addresses are distinct and aligned, so that
// views and checks of overlap behave, and are never read or written.
#include <algorithm>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/cuda/planning_table.h"
#include "kernels/device.h"
#include "kernels/operation_table.h"

namespace galleon {
namespace {

class PlanningDevice final : public Device {
 public:
  explicit PlanningDevice(const OperationTable& operations) : operations_(operations) {}
  ~PlanningDevice() override { release_workspace(); }

  absl::string_view kind() const override { return "planning"; }
  bool executes() const override { return false; }
  const OperationTable& operations() const override { return operations_; }
  const Execution& execution() const override { return execution_; }
  void upload(const Tensor&, const void*) override {}
  void download(void*, const Tensor&) override {}

 protected:
  void* allocate_memory(int64_t bytes) override {
    const uintptr_t address = next_address_;
    next_address_ += static_cast<uintptr_t>(std::max<int64_t>(bytes, 64));
    return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): never read
  }
  void free_memory(void*, int64_t) override {}

 private:
  const OperationTable& operations_;
  const Execution execution_;
  uintptr_t next_address_ = uintptr_t{1} << 52;  // beyond what any process can map
};

}  // namespace

std::unique_ptr<Device> make_planning_device(absl::string_view kind) {
  static const OperationTable cuda_sizes = [] {
    OperationTable table{};
    cuda::fill_workspaces(table);
    return table;
  }();
  GALLEON_CHECK(kind == "cpu" || kind == "cuda") << "no device of kind " << std::string(kind) << " can be planned for";
  return std::make_unique<PlanningDevice>(kind == "cuda" ? cuda_sizes : cpu_operations());
}

}  // namespace galleon
