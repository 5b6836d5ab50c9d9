#include "worker/engine/model/lora.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/math/random.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"

namespace galleon {

namespace {

// What an adapter reads: x, or a dropped copy of it in the workspace.
class Dropped {
 public:
  Dropped(Device& device, const Tensor& x, const DropoutMask& mask)
      : memory_(device, mask.probability > 0 ? x.bytes() : 0), tensor_(x) {
    if (mask.probability == 0) return;
    tensor_ = memory_.tensor(x.rows, x.columns, x.type);
    dropout(device, x, mask, tensor_);
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  Workspace memory_;
  Tensor tensor_;
};

bool is_target(const Parameter& p, const LoraOptions& lora) {
  return (p.group == ParameterGroup::kAttention && lora.target_attention) ||
         (p.group == ParameterGroup::kMlp && lora.target_mlp);
}

}  // namespace

void add_adapters(std::vector<Parameter>& parameters, const LoraOptions& lora) {
  const size_t of_model = parameters.size();
  for (size_t i = 0; i < of_model; ++i) {
    const bool target = is_target(parameters[i], lora);
    const bool rest = lora.train_rest || parameters[i].group == ParameterGroup::kClassifier;
    if (target || !rest) parameters[i].trained = -1;
    if (!target) continue;
    const Parameter base = parameters[i];
    GALLEON_CHECK(base.rank == 0 && absl::EndsWith(base.name, ".weight")) << base.name;
    const std::string prefix = base.name.substr(0, base.name.size() - 6);
    parameters[i].adapter = static_cast<int>(parameters.size());
    for (const bool second : {false, true}) {
      Parameter p;
      p.index = static_cast<int>(parameters.size());
      p.name = absl::StrCat(prefix, second ? "lora_B.weight" : "lora_A.weight");
      p.group = base.group;
      p.block = base.block;
      p.out = second ? base.out : lora.rank;
      p.in = second ? lora.rank : base.in;
      p.of_adapter = true;
      parameters.push_back(std::move(p));
    }
  }
  int trained = 0;
  for (Parameter& p : parameters) {
    if (p.trained >= 0) p.trained = trained++;
  }
}

void initialize_adapters(const std::vector<Parameter>& parameters, Device& device, uint64_t seed) {
  for (const Parameter& base : parameters) {
    if (base.adapter < 0) continue;
    const Parameter& a = parameters[base.adapter];
    const Parameter& b = parameters[base.adapter + 1];
    std::vector<float> values(a.out * a.in);
    const double bound = 1.0 / std::sqrt(static_cast<double>(a.in));
    for (size_t i = 0; i < values.size(); ++i) {
      // The base matrices' normal numbers come from streams below 2³².
      const math::Philox random = math::philox(seed, i / 4, (uint64_t{1} << 32) + a.index);
      // The middle of one of 2²⁴ equal parts of (0, 1).
      const double part = (static_cast<double>(random.word[i % 4] >> 8) + 0.5) * 0x1p-24;
      values[i] = static_cast<float>(bound * (2.0 * part - 1.0));
    }
    set_weight(a, device, values.data());
    set_everywhere(b, device, 0.0F);
  }
}

std::vector<float> merged_weight(const Parameter& p, const std::vector<Parameter>& parameters, const LoraOptions& lora,
                                 Device& device) {
  if (p.adapter < 0) return device.executes() ? get_weight(p, device) : std::vector<float>{};
  const Workspace memory(device, p.out * p.in * 4);
  const Tensor merged = memory.tensor(p.out, p.in);
  convert(device, p.weight, merged);
  matmul(device, parameters[p.adapter + 1].weight, Transpose::kNo, parameters[p.adapter].weight, Transpose::kNo, merged,
         static_cast<float>(lora.scale()), 1.0F);
  std::vector<float> values(device.executes() ? merged.size() : 0);
  if (device.executes()) device.download(values.data(), merged);
  return values;
}

DropoutMask adapter_mask(const LoraOptions& lora, const Parameter& a, int64_t step, int64_t first_token) {
  // Initial weights are drawn from streams below 2³³.
  return {lora.seed, (static_cast<uint64_t>(step + 1) << 33) + a.index, first_token * a.in, lora.dropout};
}

void Adapter::forward(Device& device, const Tensor& x, const Tensor& y) const {
  const Dropped dropped(device, x, mask);
  const int64_t rank = a.out;
  const Workspace memory(device, x.rows * rank * bytes_of(x.type));
  const Tensor down = memory.tensor(x.rows, rank, x.type);
  matmul(device, dropped.tensor(), Transpose::kNo, a.weight, Transpose::kYes, down, scale);
  matmul(device, down, Transpose::kNo, b.weight, Transpose::kYes, y, 1.0F, 1.0F);
}

void Adapter::backward(Device& device, const Tensor& x, const Tensor& dy, const Tensor& ddown,
                       GradientSink& sink) const {
  const Dropped dropped(device, x, mask);
  const Workspace down_memory(device, x.rows * rank() * bytes_of(x.type));
  const Tensor down = down_memory.tensor(x.rows, rank(), x.type);  // s·drop(x)·Aᵀ
  matmul(device, dropped.tensor(), Transpose::kNo, a.weight, Transpose::kYes, down, scale);
  matmul(device, dy, Transpose::kNo, b.weight, Transpose::kNo, ddown, scale);
  // dB = dyᵀ·down and dA = ddownᵀ·drop(x).
  sink.linear(b.trained, down, dy);
  sink.finished(b.trained);
  sink.linear(a.trained, dropped.tensor(), ddown);
}

void Adapter::backward_input(Device& device, const Tensor& ddown, const Tensor& dx, GradientSink& sink) const {
  if (mask.probability == 0) {
    matmul(device, ddown, Transpose::kNo, a.weight, Transpose::kNo, dx, 1.0F, 1.0F);
  } else {
    const Workspace through_memory(device, dx.bytes());
    const Tensor through = through_memory.tensor(dx.rows, dx.columns, dx.type);
    matmul(device, ddown, Transpose::kNo, a.weight, Transpose::kNo, through);
    dropout(device, through, mask, through);
    add(device, through, dx);
  }
  sink.finished(a.trained);
}

}  // namespace galleon
