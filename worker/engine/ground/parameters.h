// The trainable matrices of a model: names and shapes of Hugging Face's layout, and how each lies in memory. A matrix
// is stored with its projected side as columns, so that one path serves every side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/ground/weight_view.h"

namespace galleon {

// kHead is a decoder's over its vocabulary; kClassifier is all that an encoder has behind its last block.
enum class ParameterGroup { kEmbedding, kHead, kNorm, kBias, kAttention, kMlp, kClassifier };

struct Parameter {
  int index = 0;
  std::string name;  // as in model.safetensors
  ParameterGroup group = ParameterGroup::kNorm;
  int64_t out = 0;          // rows of the Hugging Face layout; the length of a vector
  int64_t in = 0;           // its columns; 1 for a vector
  bool vector = false;      // saved with one dimension
  float initial = 1;        // of a vector's numbers: 1 for the weight of a norm, 0 for a bias
  bool transposed = false;  // stored in×out
  int64_t rank = 0;         // of the projection; 0: full rank
  bool two_sided = false;   // both sides are projected: the compact matrix is rank×rank
  int trained = 0;          // place among what is trained; -1: frozen
  int64_t head_rows = 0;    // of a matrix that makes queries or keys: rows of the Hugging Face layout to a head
  int64_t row_block = 0;    // stored rows that are a matrix of their own to the rule; 0: all
  int adapter = -1;         // index of this matrix's A, which B follows; -1: none
  bool of_adapter = false;  // an A or a B: not part of model.safetensors
  bool by_rows = false;     // updated a range of rows at a time, as the backward forms their gradient
  int block = -1;           // of the model, whose weights are used together; -1: used alone
  // rows×columns as stored, fp32 or bf16. Without data while a sharded weight is not gathered.
  Tensor weight;
  // Of a sharded weight this rank holds and updates rows [first_row, first_row + shard_rows) alone.
  bool sharded = false;
  int64_t first_row = 0;
  int64_t shard_rows = 0;
  int64_t shard_unit = 1;  // ranks are cut at multiples of so many rows
  bool dealt = false;      // one rank has all rows of its moments
  int turn = 0;            // the rank that has the first piece
  Tensor shard;            // what this rank updates: these rows, or all of `weight`
  Tensor master;           // what is updated in place of its bf16 numbers (WeightStorage); empty if there is none

  int64_t rows() const { return transposed ? in : out; }
  int64_t columns() const { return transposed ? out : in; }
  // Shape of the compact matrix: the gradient as it is accumulated, reduced and kept in moments.
  int64_t compact_rows() const { return two_sided ? rank : rows(); }
  int64_t compact_columns() const { return rank > 0 ? rank : columns(); }
};

// Whether the rows of an out×in matrix are its projected side (then it is stored transposed). docs/design/galore.md,
// section 1: `std` projects the smaller side, columns when square; `reverse_std` the other; right always columns, left
// always rows. `full` projects both, and nothing is transposed.
bool projects_rows(ProjectionSide side, int64_t out, int64_t in);

// What is trained of them, in their order and numbered anew: what an optimizer knows. Views of the same memory.
std::vector<Parameter> trained_parameters(const std::vector<Parameter>& parameters);

// Gives every parameter its memory, a sharded one that of its own rows. What is frozen needs no master copy.
void allocate_weights(std::vector<Parameter>& parameters, const WeightStorage& storage, Arena& arena);

// Normal(0, deviation) for matrices, 1 for the weights of norms and 0 for biases, adapters left out; drawn in Hugging
// Face layout and order, so that orientation changes nothing.
void initialize_weights(std::vector<Parameter>& parameters, Device& device, uint64_t seed, double deviation);

// Own rows ← one number that bf16 holds, and their masters.
void set_everywhere(const Parameter& parameter, Device& device, float value);

// Copies between Hugging Face layout on the host (out×in, fp32) and the stored weight. A bf16 weight takes the nearest
// number, its master the number itself or the nearest of 24 bits. Of a sharded weight own rows are set, and all of it
// is read while it is gathered.
void set_weight(const Parameter& parameter, Device& device, const float* values);
std::vector<float> get_weight(const Parameter& parameter, Device& device);

// One hash over all weights as stored, sharded ones gathered; equal on all ranks while they hold the same replica.
uint64_t hash_weights(const std::vector<Parameter>& parameters, Device& device, WeightView& weights);

}  // namespace galleon
