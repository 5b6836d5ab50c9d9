// Shapes of the teams that reduce rows, and bytes of scratch that those kernels take, by shapes alone: for their
// launchers, and for the planner on machines without a GPU. Plain host code.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/math/multiples.h"
#include "kernels/operation_table.h"

namespace galleon::cuda {

inline constexpr int kTeamWarp = 32;
inline constexpr int kMostTeam = 512;    // threads of a team
inline constexpr int kTeamBlock = 256;   // threads of a block of several teams
inline constexpr int kForwardKept = 4;   // pieces of a row that a thread of a forward keeps
inline constexpr int kBackwardKept = 2;  // and of a backward, beside the sums for as many columns

// Teams of `width` threads, `height` to a block, each of which takes every (blocks·height)-th row.
struct TeamShape {
  int width;
  int height;
  int64_t blocks;
  bool kept;  // the registers of a team hold a whole row
  int64_t teams() const { return blocks * height; }
};
// `count`: numbers of a piece; `kept`: pieces that a thread can keep.
inline TeamShape team_shape(int64_t rows, int64_t n, int count, int kept, int64_t most_blocks) {
  const int64_t pieces = ceil_div(n, count);
  const int64_t warps = (pieces + kept * kTeamWarp - 1) / (kept * kTeamWarp);
  TeamShape teams{};
  teams.kept = pieces <= int64_t{kMostTeam} * kept;
  teams.width = static_cast<int>(std::min<int64_t>(warps * kTeamWarp, kMostTeam));
  teams.height = teams.width == kTeamWarp ? kTeamBlock / kTeamWarp : 1;
  teams.blocks = std::clamp<int64_t>((rows + teams.height - 1) / teams.height, 1, most_blocks);
  return teams;
}

// Of a backward whose teams each leave a row of partial sums: few enough that these stay small beside the operands.
inline TeamShape backward_team_shape(int64_t rows, int64_t n, int count) {
  const TeamShape alone = team_shape(rows, n, count, kBackwardKept, 1);
  return team_shape(rows, n, count, kBackwardKept, alone.height > 1 ? 132 * 2 : 132 * 4);
}
// Whatever the type of the numbers: 4 fp32 ones to 16 bytes, 8 of bf16.
inline int64_t most_backward_teams(int64_t rows, int64_t n) {
  return std::max(backward_team_shape(rows, n, 4).teams(), backward_team_shape(rows, n, 8).teams());
}

inline int64_t rms_norm_backward_workspace(int64_t rows, int64_t n) {
  return most_backward_teams(rows, n) * n * static_cast<int64_t>(sizeof(float));
}
inline int64_t layer_norm_backward_workspace(int64_t rows, int64_t n) {
  return 2 * most_backward_teams(rows, n) * n * static_cast<int64_t>(sizeof(float));
}

inline constexpr int64_t kMostAdafactorPieces = 64;
inline constexpr int64_t kLeastAdafactorRows = 16;
inline int64_t adafactor_pieces(int64_t rows) {
  return std::min(ceil_div(rows, kLeastAdafactorRows), kMostAdafactorPieces);
}
inline int64_t adafactor_sums_workspace(int64_t rows, int64_t n) {
  return adafactor_pieces(rows) * (2 * n + 1) * static_cast<int64_t>(sizeof(double));
}
// What all threads share, and a factor for each column.
inline int64_t adafactor_update_workspace(int64_t n) {
  return 64 + n * static_cast<int64_t>(sizeof(float));
}

template <typename T>
void fill_row_scratch_sizes(FloatOperations<T>& table) {
  table.rms_norm_backward_workspace = rms_norm_backward_workspace;
  table.layer_norm_backward_workspace = layer_norm_backward_workspace;
}
inline void fill_row_scratch_sizes(OperationTable& table) {
  fill_row_scratch_sizes(table.f32);
  fill_row_scratch_sizes(table.bf16);
  table.adafactor_sums_workspace = adafactor_sums_workspace;
  table.adafactor_update_workspace = adafactor_update_workspace;
}

}  // namespace galleon::cuda
