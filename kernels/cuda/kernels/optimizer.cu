// Moment rules, one pass over memory. Compiled without fused products: 8-bit moments get the same codes on every
// machine.
#include "kernels/cuda/kernels/code_blocks.h"
#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/math/adam.h"

namespace galleon::cuda {
namespace {

struct Adam {
  AdamRule rule;
  Rows<float> r;
  Rows<float> m;
  Rows<float> v;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    auto update = r.load<count>(row, column);
    auto moment = m.load<count>(row, column);
    auto square = v.load<count>(row, column);
#pragma unroll
    for (int i = 0; i < count; ++i) {
      update.value[i] = math::adam(update.value[i] * rule.gradient_scale, rule.beta1, rule.beta2, rule.epsilon,
                                   moment.value[i], square.value[i]);
    }
    r.store<count>(row, column, update);
    m.store<count>(row, column, moment);
    v.store<count>(row, column, square);
  }
};

void adam_update(const Execution& on, int64_t size, const AdamRule& rule, float* r, float* m, float* v) {
  const Adam body{rule, vector_rows(r), vector_rows(m), vector_rows(v)};
  elementwise<Pack<float>::kCount>(on, 1, size, body.r.aligned(1) && body.m.aligned(1) && body.v.aligned(1), body);
}

// A team keeps the new moments of its block until their largest are known.
__global__ void __launch_bounds__(kMostCodeTeam)
    adam8bit_kernel(int64_t size, int64_t block, bool wide, AdamRule rule, float* __restrict__ r,
                    uint8_t* __restrict__ m_codes, float* __restrict__ m_scales, uint8_t* __restrict__ v_codes,
                    float* __restrict__ v_scales) {
  __shared__ float signed_values[256];
  __shared__ float unsigned_values[256];
  __shared__ float largest_of_warps[kMostCodeTeam / kWarp];
  load_dynamic8<true>(signed_values);
  load_dynamic8<false>(unsigned_values);
  __syncthreads();
  const int64_t rounds = code_rounds(size, block);
  for (int64_t round = 0; round < rounds; ++round) {
    const CodeBlock own = code_block(round, size, block);
    Piece<float, kBlockPiece> moment[kBlockPieces];
    Piece<float, kBlockPiece> square[kBlockPieces];
    float m_largest = 0.0F;
    float v_largest = 0.0F;
    const float m_scale = own.count > 0 ? m_scales[own.index] : 0.0F;
    const float v_scale = own.count > 0 ? v_scales[own.index] : 0.0F;
#pragma unroll
    for (int k = 0; k < kBlockPieces; ++k) {
      const int64_t left = own.count - piece_begin(k);
      if (left <= 0) continue;
      const int64_t at = own.begin + piece_begin(k);
      Piece<float, kBlockPiece> update = load_numbers(r + at, left, wide);
      const uint32_t mc = load_codes(m_codes + at, left, wide);
      const uint32_t vc = load_codes(v_codes + at, left, wide);
#pragma unroll
      for (int i = 0; i < kBlockPiece; ++i) {
        float m = signed_values[mc >> (8 * i) & 255U] * m_scale;
        float v = unsigned_values[vc >> (8 * i) & 255U] * v_scale;
        update.value[i] = math::adam(update.value[i] * rule.gradient_scale, rule.beta1, rule.beta2, rule.epsilon, m, v);
        moment[k].value[i] = m;
        square[k].value[i] = v;
        if (i >= left) continue;
        const float magnitude = __builtin_fabsf(m);
        m_largest = magnitude > m_largest ? magnitude : m_largest;
        v_largest = v > v_largest ? v : v_largest;
      }
      store_numbers(r + at, left, wide, update);
    }
    m_largest = team_largest(m_largest, largest_of_warps);
    v_largest = team_largest(v_largest, largest_of_warps);
    if (own.count == 0) continue;
    if (threadIdx.x == 0) {
      m_scales[own.index] = m_largest;
      v_scales[own.index] = v_largest;
    }
    const float m_unit = m_largest > 0.0F ? m_largest : 1.0F;
    const float v_unit = v_largest > 0.0F ? v_largest : 1.0F;
#pragma unroll
    for (int k = 0; k < kBlockPieces; ++k) {
      const int64_t left = own.count - piece_begin(k);
      if (left <= 0) continue;
      const int64_t at = own.begin + piece_begin(k);
      uint32_t mc = 0;
      uint32_t vc = 0;
#pragma unroll
      for (int i = 0; i < kBlockPiece; ++i) {
        mc |= static_cast<uint32_t>(math::dynamic8_signed(moment[k].value[i] / m_unit)) << (8 * i);
        vc |= static_cast<uint32_t>(math::dynamic8_unsigned(square[k].value[i] / v_unit)) << (8 * i);
      }
      store_codes(m_codes + at, left, wide, mc);
      store_codes(v_codes + at, left, wide, vc);
    }
  }
}

void adam8bit_update(const Execution& on, int64_t size, int64_t block, const AdamRule& rule, float* r,
                     const CodedNumbers& m, const CodedNumbers& v) {
  const CodeTeams teams = code_teams(size, block);
  const bool wide = blocks_aligned(block, r) && codes_aligned(m.codes) && codes_aligned(v.codes);
  launch<adam8bit_kernel>(on, teams.grid_size(), teams.block_size(), 0, size, block, wide, rule, r, m.codes, m.scales,
                          v.codes, v.scales);
}

struct Momentum {
  float momentum;
  float gradient_scale;
  Rows<float> r;
  Rows<float> buffer;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const auto gradient = r.load<count>(row, column);
    auto moved = buffer.load<count>(row, column);
#pragma unroll
    for (int i = 0; i < count; ++i) moved.value[i] = momentum * moved.value[i] + gradient_scale * gradient.value[i];
    buffer.store<count>(row, column, moved);
    r.store<count>(row, column, moved);
  }
};

void momentum_update(const Execution& on, int64_t size, float momentum, float gradient_scale, float* r, float* buffer) {
  const Momentum body{momentum, gradient_scale, vector_rows(r), vector_rows(buffer)};
  elementwise<Pack<float>::kCount>(on, 1, size, body.r.aligned(1) && body.buffer.aligned(1), body);
}

struct CombineFormula {
  float alpha;
  float beta;
  __device__ float operator()(float x, float y) const { return alpha * x + beta * y; }
};
struct ScaleFormula {
  float factor;
  __device__ float operator()(float x) const { return factor * x; }
};
struct SquareFormula {
  __device__ float operator()(float x) const { return x * x; }
};

void combine(const Execution& on, int64_t size, float alpha, const float* x, float beta, const float* y, float* z) {
  map(on, 1, size, CombineFormula{alpha, beta}, vector_rows(x), vector_rows(y), vector_rows(z));
}

void scale(const Execution& on, int64_t size, float factor, const float* x, float* y) {
  map(on, 1, size, ScaleFormula{factor}, vector_rows(x), vector_rows(y));
}

void square(const Execution& on, int64_t size, const float* x, float* y) {
  map(on, 1, size, SquareFormula{}, vector_rows(x), vector_rows(y));
}

}  // namespace

void fill_optimizer(OperationTable& table) {
  table.adam_update = adam_update;
  table.adam8bit_update = adam8bit_update;
  table.momentum_update = momentum_update;
  table.combine = combine;
  table.scale = scale;
  table.square = square;
}

}  // namespace galleon::cuda
