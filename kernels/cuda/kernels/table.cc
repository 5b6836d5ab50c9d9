#include "kernels/cuda/kernels/kernels.h"

namespace galleon::cuda {

void fill_kernels(OperationTable& table) {
  fill_attention(table);
  fill_attention_of_last(table);
  fill_bias(table);
  fill_dropout(table);
  fill_embedding(table);
  fill_loss(table);
  fill_random(table);
  fill_reductions(table);
  fill_rotary(table);
}

}  // namespace galleon::cuda
