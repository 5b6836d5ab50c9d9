// The rules by name: what else of the optimizer has to know of one, and the one that a parameter takes. A rule that is
// added is a file of its own, a value of MomentRule, and a line of the table in rules.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/optim/moments.h"

namespace galleon {

struct RuleKind {
  std::unique_ptr<Moments> (*allocate)(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena);
  // The update of some rows needs no others.
  bool by_rows;
  // The moments of large matrices are blocks of dynamic codes.
  bool codes;
  // It is of matrices as such: at full rank these are stored with their smaller side as columns.
  bool of_matrices;
  // Of these whole ones are dealt out to ranks where that sends less.
  bool deals;
  // The rule of what is no matrix of a block: of embeddings, heads and vectors.
  MomentRule rest;
  // The rule whose state at full rank this one's is told beside: itself, or what it is used in place of.
  MomentRule beside;
};

const RuleKind& kind_of(MomentRule rule);

// The options with the rule that a parameter takes.
OptimizerOptions options_for(const OptimizerOptions& options, const Parameter& p);

// How parameters lie in memory and over ranks for their rules: which are transposed, cut into heads, or dealt out
// whole. Before cut_weights and allocate_weights.
void lay_out_for_rules(const OptimizerOptions& options, int ranks, std::vector<Parameter>& parameters);

// A parameter's rows are cut over ranks at multiples of this: at blocks of codes, at heads, or nowhere.
int64_t shard_unit(const OptimizerOptions& options, const Parameter& p);

// In codes where codes_of() says so.
std::unique_ptr<Moments> allocate_adam(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena);
std::unique_ptr<Moments> allocate_coded_adam(const OptimizerOptions& options, const CompactMatrix& matrix,
                                             Arena& arena);
std::unique_ptr<Moments> allocate_adafactor(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena);
std::unique_ptr<Moments> allocate_sgd(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena);
std::unique_ptr<Moments> allocate_muon(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena);
std::unique_ptr<Moments> allocate_scale(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena);
std::unique_ptr<Moments> allocate_apollo(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena);
std::unique_ptr<Moments> allocate_fira(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena);

}  // namespace galleon
