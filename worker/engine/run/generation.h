// Text that a language model makes, token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "worker/engine/model/model.h"

namespace galleon {

struct GenerationOptions {
  int64_t tokens = 64;       // at most
  double temperature = 0.8;  // 0: the most probable token
  double top_p = 0.95;
  uint64_t seed = 42;
  std::vector<int32_t> stop;  // tokens that end the text; they are not handed out
  int64_t vocabulary = 0;     // tokens from this one on are never drawn; 0: all may be
};

// One token drawn from the smallest set of most probable ones whose mass reaches top_p (Holtzman et al. 2020), from
// logits divided by the temperature; of equal ones the first. Temperature 0 takes the first of the largest. The draw is
// the same on every platform.
int32_t sample_token(const std::vector<float>& logits, double temperature, double top_p, std::mt19937_64& random);

// Draws tokens that follow `prompt` (1 or more, of which the last model.sequence() count) and hands each to `emit`,
// until it returns false, `stop` or the number of tokens. The model has Activations::kText. When its positions are used
// up, the text goes on from the newer half of what it has.
void generate_tokens(Model& model, const std::vector<int32_t>& prompt, const GenerationOptions& options,
                     const std::function<bool(int32_t)>& emit);

}  // namespace galleon
