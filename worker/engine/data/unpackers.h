// Streams that unpack gzip, zstd, bzip2 and xz, in bounded memory.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/data/input_stream.h"

namespace galleon {

enum class Packing { kNone, kGzip, kZstd, kBzip2, kXz };

constexpr size_t kPackingBytes = 6;  // that tell
// Of a file with these first bytes.
Packing packing_of(absl::string_view first);

// All members, frames and streams of a packed file, one behind the other; kNone: the stream itself. zstd's windows may
// have up to 2 GiB. Reading gives DATA_LOSS for what is damaged or cut short, with the path.
absl::StatusOr<std::unique_ptr<InputStream>> unpack(Packing packing, std::unique_ptr<InputStream> stream,
                                                    const std::string& path);

}  // namespace galleon
