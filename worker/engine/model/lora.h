// LoRA adapters (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"): y = x·Wᵀ + s·drop(x)·Aᵀ·Bᵀ with
// s = alpha/rank, W frozen, A rank×in and B out×rank.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ops/dropout.h"
#include "worker/engine/ground/gradient_sink.h"
#include "worker/engine/ground/parameters.h"

namespace galleon {

// Appends an A and a B for each target (NAME.lora_A.weight, NAME.lora_B.weight beside NAME.weight), freezes the targets
// and, unless the rest is trained, everything else but adapters and the
// classifier of an encoder, which is new in fine-tuning.
void add_adapters(std::vector<Parameter>& parameters, const LoraOptions& lora);

// A: uniform in ±1/√in, which is what peft's default `kaiming_uniform_(a=√5)` comes to (He 2015, eq. 10 with that
// slope); B: 0, so that training begins with W alone.
void initialize_adapters(const std::vector<Parameter>& parameters, Device& device, uint64_t seed);

// W + s·B·A of an adapted matrix in Hugging Face layout and fp32; the weight itself where there is no adapter.
std::vector<float> merged_weight(const Parameter& parameter, const std::vector<Parameter>& parameters,
                                 const LoraOptions& lora, Device& device);

// The mask of the tokens that begin at `first_token` of a step: of (seed, step, adapter, token, element) alone, so that
// ranks, passes and a block that is recomputed see the same one. `a`: the adapter's A.
DropoutMask adapter_mask(const LoraOptions& lora, const Parameter& a, int64_t step, int64_t first_token);

// One matrix's adapter during a pass. Products of low rank are not kept from forward to backward.
struct Adapter {
  const Parameter& a;
  const Parameter& b;
  float scale = 1;
  DropoutMask mask;  // probability 0: nothing is dropped

  // y ← y + s·drop(x)·Aᵀ·Bᵀ. x: tokens×in, y: tokens×out.
  void forward(Device& device, const Tensor& x, const Tensor& y) const;
  int64_t rank() const { return a.out; }
  // The factors of both gradients to the sink, and ddown ← s·dy·B (tokens×rank). B is used no more by this backward.
  void backward(Device& device, const Tensor& x, const Tensor& dy, const Tensor& ddown, GradientSink& sink) const;
  // Then dx ← dx + drop(ddown·A). A is used no more.
  void backward_input(Device& device, const Tensor& ddown, const Tensor& dx, GradientSink& sink) const;
};

}  // namespace galleon
