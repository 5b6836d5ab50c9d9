// Jobs as people submit them, each a whole job file.
#pragma once

#include "galleon/v1/job.pb.h"

namespace galleon::bench {

v1::Job whole_job(int number);

}  // namespace galleon::bench
