// One class for each operation says all that is needed to test and to time it: its operands by name and shape, how it
// is called, its result in double precision, and of which loss its gradients are the slopes. Tests on every device, the
// benchmarks, the GPU suite and the planner's tests take their cases from the lists at the end, so that an operation
// whose case is in a list has all of these.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/device.h"

namespace galleon {

using Values = std::vector<double>;  // row-major, without gaps

enum class Role {
  kInput,
  kOutput,    // written only
  kUpdated,   // read and written
  kAdded,     // a gradient that is added to what is there
  kPrepared,  // written by `prepare`, read by `run`
};

struct Operand {
  const char* name;
  int64_t rows = 0;
  int64_t columns = 1;
  Role role = Role::kInput;
  // Of the numbers' type where it may be fp32 or bf16, else the type that the operation wants.
  bool typed = true;
  DataType type = DataType::kFloat32;
  bool gaps = true;      // between rows are allowed
  double deviation = 1;  // of normal numbers
  bool positive = false;
  int64_t limit = 0;     // of ids, which are below it
  bool targets = false;  // some of the ids are negative

  DataType type_for(DataType numbers) const { return typed ? numbers : type; }
  bool drawn() const { return role == Role::kInput || role == Role::kUpdated || role == Role::kAdded; }
};
// Operands in the words of the cases below.
inline Operand typed(const char* name, int64_t rows, int64_t columns, Role role = Role::kInput) {
  return {.name = name, .rows = rows, .columns = columns, .role = role, .gaps = columns > 1};
}
inline Operand fp32(const char* name, int64_t rows, int64_t columns, Role role = Role::kInput) {
  return {.name = name, .rows = rows, .columns = columns, .role = role, .typed = false, .gaps = false};
}
inline Operand fp32_rows(const char* name, int64_t rows, int64_t columns, Role role = Role::kInput) {
  return {.name = name, .rows = rows, .columns = columns, .role = role, .typed = false, .gaps = columns > 1};
}
inline Operand positive(Operand operand) {
  operand.positive = true;
  return operand;
}
inline Operand ids(const char* name, int64_t count, int64_t limit, bool targets = false) {
  Operand operand = fp32(name, count, 1);
  operand.type = DataType::kInt32;
  operand.limit = limit;
  operand.targets = targets;
  return operand;
}
inline Operand codes(const char* name, int64_t count, Role role) {
  Operand operand = fp32(name, count, 1, role);
  operand.type = DataType::kUint8;
  return operand;
}

inline Operand short_scales(const char* name, int64_t count, Role role) {
  Operand operand = fp32(name, count, 1, role);
  operand.type = DataType::kUint16;
  return operand;
}

// What limits an operation's speed: a copy's bytes a second, the best product's FLOPs, or nothing simple.
enum class Bound { kMemory, kProduct, kSeconds };

// A gradient, and the operand that it belongs to, as places in the list of operands.
struct Slope {
  size_t of;
  size_t gradient;
};

class OperationCase {
 public:
  OperationCase(std::string name, std::vector<Operand> operands, Bound bound = Bound::kMemory)
      : name_(std::move(name)), operands_(std::move(operands)), bound_(bound) {}
  OperationCase(const OperationCase&) = delete;
  OperationCase& operator=(const OperationCase&) = delete;
  virtual ~OperationCase() = default;

  // As figures are named by it: the operation, and what tells a variant from others.
  const std::string& name() const { return name_; }
  const std::vector<Operand>& operands() const { return operands_; }
  Bound bound() const { return bound_; }
  // The shapes of matrices that are read: "x 7x63, dy 7x63".
  std::string shapes() const;

  // What comes before the operation and is neither tested nor timed: a forward, for what its backward reads.
  virtual void prepare(Device&, const std::vector<Tensor>&) const {}
  // The operation. Returns what it tells the host. FLOPs and bytes are what it adds to device.work().
  virtual Values run(Device& device, const std::vector<Tensor>& t) const = 0;

  // In double precision: from the numbers of inputs, those of outputs and of what is updated. Returns what the host is
  // told. False from `has_reference`: gradients alone, or bases that are unique up to signs.
  virtual bool has_reference() const { return false; }
  virtual Values reference(std::vector<Values>&) const { return {}; }
  // Bound on an output's error in fp32 relative to its largest number. 0: exact.
  virtual double tolerance() const { return 0; }

  // Gradients with respect to operands: the slopes of `loss`, in double precision, up to slope_tolerance times a
  // gradient's norm.
  virtual std::vector<Slope> slopes() const { return {}; }
  virtual double loss(const std::vector<Values>&) const { return 0; }
  virtual double slope_tolerance() const { return 1e-6; }

  // Whether bf16 operands give the fp32 result rounded once; else how far results in bf16 may be from it.
  virtual bool takes_bfloat16() const { return typed_operands(); }
  virtual double bfloat16_tolerance() const { return 0; }

 private:
  bool typed_operands() const;

  std::string name_;
  std::vector<Operand> operands_;
  Bound bound_;
};

using CaseList = std::vector<std::unique_ptr<const OperationCase>>;

// Sizes of a model whose operations are timed.
struct ModelSizes {
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

// Small cases that cut rows, tiles and blocks in every way.
CaseList ragged_cases();
// Every operation at a model's sizes, no name twice.
CaseList model_cases(const ModelSizes& sizes);

// Each family of operations adds its own to the two lists.
void add_ragged_activations(CaseList& list);
void add_ragged_norms(CaseList& list);
void add_ragged_attention(CaseList& list);
void add_ragged_losses(CaseList& list);
void add_ragged_optimizer(CaseList& list);
void add_ragged_channels(CaseList& list);
void add_ragged_products(CaseList& list);
void add_activations_of_model(const ModelSizes& sizes, CaseList& list);
void add_norms_of_model(const ModelSizes& sizes, CaseList& list);
void add_attention_of_model(const ModelSizes& sizes, CaseList& list);
void add_losses_of_model(const ModelSizes& sizes, CaseList& list);
void add_optimizer_of_model(const ModelSizes& sizes, CaseList& list);
void add_channels_of_model(const ModelSizes& sizes, CaseList& list);
void add_products_of_model(const ModelSizes& sizes, CaseList& list);

// The operands of a case on a device, drawn there by fill_normal: for timing, and where no reference is wanted. Ends
// the process where they do not fit. Prepared.
class DrawnOperands {
 public:
  DrawnOperands(Device& device, const OperationCase& of, DataType numbers);
  const std::vector<Tensor>& tensors() const { return tensors_; }

 private:
  Arena arena_;
  std::vector<Tensor> tensors_;
};

// Error bounds: half the distance between 1 and the next fp32 number is the relative error of one operation; those of
// a sum of `terms` products add like a random walk, and 16 covers results that are small because of cancellation.
inline constexpr double kRounding = 0x1p-24;
double sum_bound(int64_t terms);
double dot(const Values& a, const Values& b);

}  // namespace galleon
