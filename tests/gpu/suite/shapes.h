// The training runs that the suite measures.
#pragma once

#include <optional>
#include <vector>

#include "worker/engine/run/engine.h"

namespace galleon::gpu {

inline constexpr int64_t kRefreshInterval = 200;

// A preset in bf16 on one micro-batch a step; rank 0 is full rank, else GaLore with warm `subspace` refreshes of all
// matrices in one step and bases in bf16.
EngineShape suite_shape(const char* preset, int64_t sequence, int64_t sequences, int64_t rank);

// llama-1b in 8 × 1,024 tokens under GaLore with AdamW, the first, and under the other rules that are chosen for
// matrices; of rank 512 where they project.
struct Method {
  const char* name;
  EngineShape shape;
};
std::vector<Method> methods_1b();

// deploy/examples/llama-7b-24gb.yaml: 8-bit GaLore of rank 1,024, per-layer update, recompute, 16 × 256 tokens a step;
// with bases in int8 two inputs of blocks fewer are kept, as docs/tune.md has it.
EngineShape recipe_7b(BasisType bases);

// llama-7b at full rank in 1,024 tokens × as many of 16, 8, 4, 2 sequences a pass as the plan fits into `bytes`,
// per-layer update so that gradients need no memory of their own. None: not even 2.
std::optional<EngineShape> full_rank_7b(int64_t bytes);

}  // namespace galleon::gpu
