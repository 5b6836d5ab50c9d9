// How a rank came to its end, from what its daemon reports.
#pragma once

#include "galleon/v1/journal.pb.h"
#include "galleon/v1/workers.pb.h"

namespace galleon::server {

// What an exited rank's report says of its end.
v1::RankExit exit_of(const v1::RankReport& report);

}  // namespace galleon::server
