#include "kernels/cuda/kernels/kernels.h"

namespace galleon::cuda {

void fill_kernels(OperationTable& table) {
  fill_activation(table);
  fill_adafactor(table);
  fill_attention(table);
  fill_attention_of_last(table);
  fill_bias(table);
  fill_dropout(table);
  fill_embedding(table);
  fill_index_check(table);
  fill_layer_norm(table);
  fill_loss(table);
  fill_norm(table);
  fill_optimizer(table);
  fill_orthogonal(table);
  fill_channels(table);
  fill_companded(table);
  fill_quantize(table);
  fill_random(table);
  fill_reductions(table);
  fill_rotary(table);
  fill_transpose(table);
  fill_weight_update(table);
}

}  // namespace galleon::cuda
