// One JSON array read as JSON lines, in bounded memory.
#pragma once

#include <memory>
#include <string>

#include "worker/engine/data/input_stream.h"

namespace galleon {

// The elements of the array that `stream` holds, one a line: line breaks within an element become spaces. What follows
// the array's end and an array without an end are INVALID_ARGUMENT, with `path`.
std::unique_ptr<InputStream> json_array_lines(std::unique_ptr<InputStream> stream, const std::string& path);

}  // namespace galleon
