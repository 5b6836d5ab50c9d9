// Compressed files, recognised by their first bytes and unpacked as streams.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/data/input_stream.h"

namespace galleon {

// kSkippableZstd: the first frame is a skippable one.
enum class Packing { kNone, kGzip, kZstd, kBzip2, kXz, kSkippableZstd };

// By a file's first bytes; 10 are enough.
Packing packing_of(absl::string_view head);

// The same of a file; kNone: also one that cannot be opened.
Packing packing_of_file(const std::string& path);

// What `stream` holds, unpacked: all members of gzip, all frames of zstd (windows up to 2 GiB), all streams of bzip2
// and xz. `packing` is not kNone; `path` is for errors. DATA_LOSS, from read: damaged, cut short, or too large a
// window.
absl::StatusOr<std::unique_ptr<InputStream>> unpack(Packing packing, std::unique_ptr<InputStream> stream,
                                                    const std::string& path);

}  // namespace galleon
