// The operations that the suite times one by one, with operands of a model's sizes: those that memory bounds, products,
// and decompositions. On any device, so that the list is tested where there is no GPU.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace galleon::gpu {

struct OperationSizes {
  int64_t sequences = 16;
  int64_t sequence = 1024;
  int64_t hidden = 2048;
  int64_t mlp = 5504;
  int64_t head = 64;
  int64_t vocabulary = 32000;
  int64_t logit_rows = 2048;     // of a piece of the batch whose loss is taken at once
  int64_t rank = 512;            // of the subspaces
  int64_t state_rows = 65536;    // of optimizer states, whose rows hold 1,024 numbers
  int64_t summed_rows = 262144;  // of what is reduced to one number, which is waited for
  int64_t tokens() const { return sequences * sequence; }
};

enum class Bound { kMemory, kProduct, kSeconds };

struct Operation {
  std::string name;
  Bound bound;
  std::function<void()> call;
};

class Operations {
 public:
  // Ends the process where the operands do not fit.
  Operations(Device& device, const OperationSizes& sizes);
  const std::vector<Operation>& all() const { return all_; }

 private:
  Tensor numbers(int64_t rows, int64_t columns, DataType type);
  Tensor ids(int64_t count, int64_t limit);
  void memory(const std::string& name, std::function<void()> call) {
    all_.push_back({name, Bound::kMemory, std::move(call)});
  }
  void product(const std::string& name, std::function<void()> call) {
    all_.push_back({name, Bound::kProduct, std::move(call)});
  }
  void add_activations();
  void add_losses();
  void add_states();
  void add_reductions();
  void add_products();
  void add_decompositions();

  Device& device_;
  OperationSizes sizes_;
  Arena arena_;
  uint64_t stream_ = 0;
  std::vector<Operation> all_;
};

}  // namespace galleon::gpu
