// What the CPU device computes with, as a message.
#pragma once

#include "galleon/v1/trainer.pb.h"

namespace galleon {

// Of the processor that this runs on and the libraries of this process.
v1::ProcessorInfo processor_message();

}  // namespace galleon
