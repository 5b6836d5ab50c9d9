#include "worker/engine/optim/rules.h"

#include <map>
#include <numeric>
#include <utility>

namespace galleon {

namespace {

// In the order of MomentRule.
constexpr RuleKind kRules[] = {
    // allocate, by rows, codes, of matrices, deals, the rest, beside
    {allocate_adam, true, false, false, false, MomentRule::kAdamW, MomentRule::kAdamW},
    {allocate_adam, true, true, false, false, MomentRule::kAdam8bit, MomentRule::kAdam8bit},
    {allocate_adafactor, false, false, false, false, MomentRule::kAdafactor, MomentRule::kAdafactor},
    {allocate_sgd, true, false, false, false, MomentRule::kSgd, MomentRule::kSgd},
    {allocate_muon, false, false, true, true, MomentRule::kAdamW, MomentRule::kMuon},
    {allocate_muon, false, true, true, true, MomentRule::kAdam8bit, MomentRule::kMuon8bit},
    {allocate_scale, false, false, false, false, MomentRule::kScale, MomentRule::kAdamW},
    {allocate_apollo, false, false, true, false, MomentRule::kAdamW, MomentRule::kAdamW},
    {allocate_apollo, false, false, true, false, MomentRule::kAdamW, MomentRule::kAdamW},
    {allocate_fira, false, false, true, false, MomentRule::kAdamW, MomentRule::kAdamW},
};

bool in_block(const Parameter& p) {
  return !p.vector && (p.group == ParameterGroup::kAttention || p.group == ParameterGroup::kMlp);
}

// Of matrices of one shape, whether each rank takes some whole ones: it then sends the updates of these, which are few
// or many by one, and otherwise those of its rows of all, and two times its part of each Gram matrix.
bool dealing_is_cheaper(const OptimizerOptions& options, int64_t matrices, const Parameter& p, int ranks) {
  const auto update = static_cast<double>(p.rows() * p.columns() * bytes_of(options.wire_type));
  const auto gram = static_cast<double>(2 * p.columns() * p.columns() * bytes_of(DataType::kFloat32));
  const int64_t most = (matrices + ranks - 1) / ranks * ranks;
  return static_cast<double>(most) * update <= static_cast<double>(matrices) * (update + gram);
}

// Full-rank matrices of one shape, in turns.
void deal_out(const OptimizerOptions& options, int ranks, std::vector<Parameter>& parameters) {
  std::map<std::pair<int64_t, int64_t>, std::vector<Parameter*>> by_shape;
  for (Parameter& p : parameters) {
    if (in_block(p) && p.trained >= 0 && p.rank == 0 && p.row_block == 0)
      by_shape[{p.rows(), p.columns()}].push_back(&p);
  }
  int next = 0;
  for (const auto& [shape, matrices] : by_shape) {
    if (!dealing_is_cheaper(options, static_cast<int64_t>(matrices.size()), *matrices.front(), ranks)) continue;
    for (Parameter* p : matrices) {
      p->dealt = true;
      p->turn = next++ % ranks;
    }
  }
}

}  // namespace

const RuleKind& kind_of(MomentRule rule) {
  return kRules[static_cast<int>(rule)];
}

OptimizerOptions options_for(const OptimizerOptions& options, const Parameter& p) {
  OptimizerOptions own = options;
  if (!in_block(p)) own.rule = kind_of(options.rule).rest;
  return own;
}

void lay_out_for_rules(const OptimizerOptions& options, int ranks, std::vector<Parameter>& parameters) {
  if (!kind_of(options.rule).of_matrices) return;
  for (Parameter& p : parameters) {
    if (!in_block(p) || p.trained < 0) continue;
    if (options.muon.split_heads && p.head_rows > 0) {
      p.row_block = p.head_rows;
    } else if (p.rank == 0) {
      p.transposed = p.out < p.in;
    }
  }
  if (ranks > 1 && kind_of(options.rule).deals) deal_out(options, ranks, parameters);
}

int64_t shard_unit(const OptimizerOptions& options, const Parameter& p) {
  if (p.dealt) return p.compact_rows();
  const int64_t unit = shard_unit(options_for(options, p), p.compact_rows(), p.compact_columns());
  return p.row_block > 0 ? std::lcm(unit, p.row_block) : unit;
}

}  // namespace galleon
