// Records of TensorBoard's event files: TensorFlow's messages Event, Summary, SessionLog and those of the HParams
// plug-in, by their public field numbers, in the frames of its TFRecord format.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/tracking/metric_scalars.h"

namespace galleon {

// CRC-32C (Castagnoli), as of RFC 3720.
uint32_t crc32c(absl::string_view bytes);

// Length, its checksum, the bytes, theirs. Checksums are masked, as sums of sums would detect little.
std::string framed_record(absl::string_view bytes);

// Messages, without a frame. wall_time: seconds since 1970.
std::string first_event(double wall_time);  // which says that the file is one of events
// What was read before of `step` and later is undone.
std::string start_event(double wall_time, int64_t step);
std::string scalars_event(double wall_time, int64_t step, const Scalars& scalars);
// Of a session without the name of a group: such a one is compared with others by its folder. What shares a group is
// shown as one, with the hyperparameters of the first.
std::string hyperparameters_event(double wall_time, const std::vector<Hyperparameter>& hyperparameters);
// The session has come to its end, with success.
std::string finished_event(double wall_time);

}  // namespace galleon
