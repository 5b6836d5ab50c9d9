// The parts of the GPU suite, each with its lines in the table.
#pragma once

#include "tests/gpu/suite/report.h"

namespace galleon::gpu {

int parity(Report& report);    // training against the CPU
int shapes(Report& report);    // attention and loss at real shapes, each against another way to the same numbers
int llama_1b(Report& report);  // steps of llama-1b, full rank and GaLore, beside the best product
int llama_7b(Report& report);  // of llama-7b
int methods(Report& report);   // of llama-1b under each rule for matrices, beside GaLore with AdamW
int speeds(Report& report);    // memory-bound operations beside a copy, products beside the best product
int memory(Report& report);    // the ledger against the driver; a limit that is kept
int nccl(Report& report);      // one rank: init, collectives, abort, begin anew

// For PyTorch to compute the same: weights, tokens, loss and gradients of one step of llama-1b. Exit status.
int export_llama_1b(const std::string& folder);

}  // namespace galleon::gpu
