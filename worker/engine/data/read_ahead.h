// An input that is read by a thread of its own, a few pieces ahead of who takes them: what comes from a network or has
// to be decoded does not stand between a tokenizer and its text.
#pragma once

#include <memory>

#include "worker/engine/data/input_stream.h"

namespace galleon {

// `pieces` pieces of `piece_bytes` are held at most. The thread begins once `bytes_before` bytes have been taken, so
// that a look at a file's first bytes reads no more than these. `stream` is used by one thread at a time.
std::unique_ptr<InputStream> read_ahead(std::unique_ptr<InputStream> stream, size_t piece_bytes, size_t pieces,
                                        int64_t bytes_before);

}  // namespace galleon
