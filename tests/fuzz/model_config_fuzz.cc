// Any text as a config.json: it is refused, or written and read again it is the same model.
#include "worker/engine/model/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<galleon::ModelConfig> config = galleon::model_config_from_json(text, "input", {});
  if (!config.ok()) return 0;
  const absl::StatusOr<galleon::ModelConfig> again =
      galleon::model_config_from_json(galleon::model_config_to_json(*config, "float32"), "output", {});
  if (!again.ok() || *again != *config) __builtin_trap();
  return 0;
}
