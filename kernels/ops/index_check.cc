#include "kernels/ops/index_check.h"

#include "absl/strings/str_cat.h"

namespace galleon {

std::string outside_text(const IndexRange& range, int64_t index, int32_t value) {
  return absl::StrCat(range.number, " ", value, " of ", range.place, " ", index, " is outside ", range.range, " ",
                      range.stated);
}

void check_indices(Device& device, const Tensor& numbers, const IndexRange& range) {
  const OperationTable& table = device.operations();
  if (!device.executes() || numbers.size() == 0) return;
  if (table.note_outside != nullptr) {
    table.note_outside(device.execution(), numbers.size(), numbers.i32(), range);
    return;
  }
  const int64_t bad = table.first_outside(device.execution(), numbers.size(), numbers.i32(), range.low, range.high);
  if (bad < 0) return;
  int32_t value = 0;
  device.download(&value, {numbers.i32() + bad, DataType::kInt32, 1, 1, 1});
  GALLEON_CHECK(false) << outside_text(range, bad, value);
}

}  // namespace galleon
