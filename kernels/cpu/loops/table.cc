#include "kernels/cpu/loops/loops.h"

namespace galleon::cpu::GALLEON_ISA {

void fill_operations(OperationTable& table) {
  fill_activation(table);
  fill_norm(table);
  fill_layer_norm(table);
  fill_bias(table);
  fill_attention(table);
  fill_embedding(table);
  fill_loss(table);
  fill_optimizer(table);
  fill_adafactor(table);
  fill_orthogonal(table);
  fill_channels(table);
  fill_quantize(table);
  fill_companded(table);
  fill_weight_update(table);
  fill_reductions(table);
  fill_random(table);
  fill_dropout(table);
  fill_rotary(table);
}

}  // namespace galleon::cpu::GALLEON_ISA
