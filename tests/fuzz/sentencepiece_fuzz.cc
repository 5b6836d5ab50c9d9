// Any bytes as a SentencePiece model: refused by the file's name, or such that no table leads out of itself.
#include "worker/engine/data/sentencepiece_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::Status sound = galleon::check_sentencepiece({reinterpret_cast<const char*>(data), size}, "the.model");
  if (!sound.ok() && sound.message().find("the.model") == absl::string_view::npos) __builtin_trap();
  return 0;
}
