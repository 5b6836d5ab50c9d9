// Where a gang goes: all of its ranks, or none. One machine if any can hold it, then one rack, then anything; among
// equals the one with the least to spare, so that large gaps stay large.
#pragma once

#include "server/core/slot_board.h"

namespace galleon::server {

// A cell for each rank, in rank order, out of `usable` (ordered by size, the largest first). Empty: they do not
// suffice.
Cells choose_cells(const SlotBoard& board, const Cells& usable, const Demand& demand);

}  // namespace galleon::server
