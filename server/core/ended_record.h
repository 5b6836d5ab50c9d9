// A job that has ended, as users see it: the same to everybody, whatever else the scheduler knows.
#pragma once

#include "galleon/v1/journal.pb.h"

namespace galleon::server {

v1::JobRecord ended_record(const v1::JobState& job);

}  // namespace galleon::server
