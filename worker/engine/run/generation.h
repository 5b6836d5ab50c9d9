// Text that a language model makes, token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "worker/engine/model/model.h"

namespace galleon {

// How one token is drawn.
struct Sampling {
  double temperature = 0.8;  // 0: the most probable token
  int64_t top_k = 0;         // that many tokens at most are drawn from; 0: all
  double top_p = 0.95;
  double repetition_penalty = 1;  // divides positive logits of tokens that the text has, and multiplies negative ones
};

struct GenerationOptions : Sampling {
  int64_t tokens = 64;  // at most
  uint64_t seed = 42;
  std::vector<int32_t> stop;  // tokens that end the text; they are not handed out
  int64_t vocabulary = 0;     // tokens from this one on are never drawn; 0: all may be
};

// One token drawn from the smallest set of most probable ones whose share of the mass of the top_k most probable ones
// reaches top_p (Holtzman et al. 2020), from logits divided by the temperature; of equal ones the first. Temperature 0
// takes the first of the largest. The draw is the same on every platform.
int32_t sample_token(const std::vector<float>& logits, const Sampling& sampling, std::mt19937_64& random);

// The penalty of Keskar et al. 2019 (CTRL) on the tokens in `text`, each once, however often it is there.
void penalize_repetition(std::vector<float>& logits, const std::vector<int32_t>& text, double penalty);

// Draws tokens that follow `prompt` (1 or more, of which the last model.sequence() count) and hands each to `emit`,
// until it returns false, `stop` or the number of tokens. The model has Activations::kText. When its positions are used
// up, the text goes on from the newer half of what it has.
void generate_tokens(Model& model, const std::vector<int32_t>& prompt, const GenerationOptions& options,
                     const std::function<bool(int32_t)>& emit);

}  // namespace galleon
