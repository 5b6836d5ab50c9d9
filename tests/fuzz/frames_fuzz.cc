// Any bytes over a trainer's socket, cut into pieces of any size: frames, an error, or nothing yet; what they hold is
// the protocol's or not.
#include <algorithm>

#include "common/base/frame.h"
#include "galleon/v1/trainer.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece = 1 + data[0] % 64;
  galleon::FrameDecoder decoder;
  std::string again;
  for (size_t at = 1; at < size; at += piece) {
    decoder.append({reinterpret_cast<const char*>(data) + at, std::min(piece, size - at)});
    while (true) {
      const absl::StatusOr<std::optional<std::string>> frame = decoder.next();
      if (!frame.ok()) return 0;
      if (!frame->has_value()) break;
      if ((*frame)->size() > galleon::kMaxFrameBytes) __builtin_trap();
      again += galleon::encode_frame(**frame);
      galleon::v1::TrainerEvent event;
      galleon::v1::TrainerCommand command;
      if (event.ParseFromString(**frame) && !event.ParseFromString(event.SerializeAsString())) __builtin_trap();
      (void)command.ParseFromString(**frame);
    }
  }
  // What was taken is what was sent.
  if (again.size() > size || !std::equal(again.begin(), again.end(), reinterpret_cast<const char*>(data) + 1))
    __builtin_trap();
  return 0;
}
