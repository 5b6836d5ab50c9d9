// The kernels of the CUDA device, one family to a file: each fills its part of the table.
#pragma once

#include "kernels/operation_table.h"

namespace galleon::cuda {

void fill_attention(OperationTable& table);
void fill_attention_of_last(OperationTable& table);
void fill_bias(OperationTable& table);
void fill_dropout(OperationTable& table);
void fill_embedding(OperationTable& table);
void fill_loss(OperationTable& table);
void fill_random(OperationTable& table);
void fill_reductions(OperationTable& table);
void fill_rotary(OperationTable& table);

// All of them. Products and decompositions are not among them: libraries do these.
void fill_kernels(OperationTable& table);

}  // namespace galleon::cuda
