// The parts of the GPU suite, each with its lines in the table.
#pragma once

#include "tests/gpu/suite/report.h"

namespace galleon::gpu {

int parity(Report& report);    // training against the CPU
int nccl(Report& report);      // one rank: init, collectives, abort, begin anew
int memory(Report& report);    // the ledger against the driver; a limit that is kept
int kernels(Report& report);   // memory-bound operations beside a copy, products beside the best product
int training(Report& report);  // steps of llama-1b and llama-7b beside the best product

}  // namespace galleon::gpu
