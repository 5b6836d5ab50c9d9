#include "tests/kernels/cases/case.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/random.h"

namespace galleon {

std::string OperationCase::shapes() const {
  std::string text;
  for (const Operand& o : operands_) {
    if (o.role != Role::kInput || o.columns == 1) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", o.name, " ", o.rows, "x", o.columns);
  }
  return text;
}

bool OperationCase::typed_operands() const {
  return std::any_of(operands_.begin(), operands_.end(), [](const Operand& o) { return o.typed; });
}

CaseList ragged_cases() {
  CaseList list;
  add_ragged_activations(list);
  add_ragged_norms(list);
  add_ragged_attention(list);
  add_ragged_losses(list);
  add_ragged_optimizer(list);
  add_ragged_channels(list);
  add_ragged_products(list);
  return list;
}

CaseList model_cases(const ModelSizes& sizes) {
  CaseList list;
  add_activations_of_model(sizes, list);
  add_norms_of_model(sizes, list);
  add_attention_of_model(sizes, list);
  add_losses_of_model(sizes, list);
  add_optimizer_of_model(sizes, list);
  add_channels_of_model(sizes, list);
  add_products_of_model(sizes, list);
  return list;
}

namespace {

// Normal numbers where something is drawn; zeros would draw less power than numbers do.
void draw(Device& device, const Operand& operand, const Tensor& t, uint64_t stream) {
  const auto deviation = static_cast<float>(operand.deviation);
  if (t.type == DataType::kInt32) {
    std::vector<int32_t> held(static_cast<size_t>(t.size()));
    for (int64_t i = 0; i < t.size(); ++i)
      held[static_cast<size_t>(i)] = static_cast<int32_t>(i * 7919 % operand.limit);
    device.upload(t, held.data());
  } else if (t.type == DataType::kFloat32) {
    fill_normal(device, t, 1, stream, 0, 0.0F, deviation);
    if (operand.positive) square(device, t, t);
  } else if (t.type == DataType::kBFloat16) {
    const Workspace wide(device, t.size() * bytes_of(DataType::kFloat32));
    const Tensor drawn = wide.tensor(t.rows, t.columns);
    fill_normal(device, drawn, 1, stream, 0, 0.0F, deviation);
    if (operand.positive) square(device, drawn, drawn);
    convert(device, drawn, t);
  }
}

}  // namespace

DrawnOperands::DrawnOperands(Device& device, const OperationCase& of, DataType numbers) : arena_(device) {
  uint64_t stream = 0;
  for (const Operand& operand : of.operands()) {
    const Tensor t = arena_.tensor(operand.name, MemoryCategory::kActivations, operand.rows, operand.columns,
                                   operand.type_for(numbers));
    GALLEON_CHECK(arena_.status().ok()) << of.name() << ": " << arena_.status().ToString();
    draw(device, operand, t, ++stream);
    tensors_.push_back(t);
  }
  of.prepare(device, tensors_);
}

double sum_bound(int64_t terms) {
  return 16 * kRounding * std::sqrt(static_cast<double>(terms) + 1);
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace galleon
