// The adapters of a run as the package peft writes and reads them: a folder of two files that it puts on the model that
// the run began from.
#pragma once

#include <string>
#include <vector>

#include "worker/engine/ground/parameters.h"
#include "worker/engine/model/model_config.h"

namespace galleon {

// Within a checkpoint's folder.
inline constexpr const char* kPeftFolder = "adapter";
inline constexpr const char* kPeftWeights = "adapter/adapter_model.safetensors";
inline constexpr const char* kPeftConfig = "adapter/adapter_config.json";

struct PeftTensor {
  std::string name;
  int parameter = 0;  // whose numbers it has
};

struct PeftAdapter {
  std::vector<PeftTensor> tensors;  // in the order of the parameters
  std::string config;               // of adapter_config.json
};

// Adapters by their matrices, and whole what else is trained: modules_to_save, and the biases of adapted matrices. A
// tied embedding that is trained stands there twice, as the head too, since peft unties what it saves. `base`: the
// folder of the model that the adapters go on.
PeftAdapter peft_adapter(const ModelConfig& config, const std::vector<Parameter>& parameters, const LoraOptions& lora,
                         const std::string& base);

}  // namespace galleon
