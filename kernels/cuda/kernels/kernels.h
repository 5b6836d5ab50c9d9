// The kernels of the CUDA device, one family to a file: each fills its part of the table.
#pragma once

#include "kernels/operation_table.h"

namespace galleon::cuda {

void fill_activation(OperationTable& table);
void fill_adafactor(OperationTable& table);
void fill_attention(OperationTable& table);
void fill_attention_of_last(OperationTable& table);
void fill_bias(OperationTable& table);
void fill_dropout(OperationTable& table);
void fill_embedding(OperationTable& table);
void fill_index_check(OperationTable& table);
void fill_layer_norm(OperationTable& table);
void fill_loss(OperationTable& table);
void fill_norm(OperationTable& table);
void fill_optimizer(OperationTable& table);
void fill_orthogonal(OperationTable& table);
void fill_channels(OperationTable& table);
void fill_companded(OperationTable& table);
void fill_quantize(OperationTable& table);
void fill_random(OperationTable& table);
void fill_reductions(OperationTable& table);
void fill_rotary(OperationTable& table);
void fill_transpose(OperationTable& table);
void fill_weight_update(OperationTable& table);

// All of them. Products and decompositions are not among them: libraries do these.
void fill_kernels(OperationTable& table);

}  // namespace galleon::cuda
