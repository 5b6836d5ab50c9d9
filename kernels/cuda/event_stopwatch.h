// A stopwatch of events on the device's stream.
#pragma once

#include <memory>

#include "kernels/cuda/context.h"
#include "kernels/stopwatch.h"

namespace galleon::cuda {

std::unique_ptr<Stopwatch> make_event_stopwatch(Context& context);

}  // namespace galleon::cuda
