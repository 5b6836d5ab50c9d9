// Small runs of adapters on a pretrained folder.
#pragma once

#include <nlohmann/json.hpp>

#include "tests/worker/engine/labelled_letters.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/checkpoint/safetensors.h"
#include "worker/engine/model/lora.h"
#include "worker/engine/model/model_parameters.h"

namespace galleon {

// The folder of a network with random weights, its biases and norms among them, but for tensors that begin with `left`.
inline void write_model(const std::string& path, const ModelConfig& config, uint64_t seed,
                        const std::string& left = "-") {
  EXPECT_TRUE(make_folders(path).ok());
  const std::unique_ptr<Device> device = make_cpu_device(1);
  Arena arena(*device);
  std::vector<Parameter> parameters = model_parameters(config, std::nullopt);
  allocate_weights(parameters, {}, arena);
  initialize_weights(parameters, *device, seed, 0.1);
  std::mt19937_64 random(seed);
  std::vector<TensorToWrite> tensors;
  for (const Parameter& p : parameters) {
    std::vector<float> values = get_weight(p, *device);
    for (float& v : values) v += p.vector ? static_cast<float>(random() % 100) * 0.002F : 0.0F;
    if (p.name.starts_with(left)) continue;
    tensors.push_back({p.name,
                       p.vector ? std::vector<int64_t>{p.out} : std::vector<int64_t>{p.out, p.in},
                       [values] { return values; },
                       "F32",
                       {}});
  }
  EXPECT_TRUE(write_safetensors(path + "/model.safetensors", tensors, {{"format", "pt"}}).ok());
  EXPECT_TRUE(write_file_atomically(path + "/config.json", model_config_to_json(config, "float32")).ok());
}

// A tiny decoder on bytes in `path`.
inline std::string base_model(const std::string& path, bool tied, uint64_t seed = 42) {
  ModelConfig config = *model_preset("tiny");
  config.vocabulary = 257;
  config.tied_embeddings = tied;
  write_model(path, config, seed);
  return path;
}

inline LoraOptions some_adapters() {
  LoraOptions lora;
  lora.rank = 4;
  lora.alpha = 8;
  lora.dropout = 0.1;
  lora.train_rest = false;
  return lora;
}

// Six steps, whose checkpoints lie in `checkpoints`.
inline RunOptions adapted_run(const TestFolder& folder, const std::string& base, const std::string& checkpoints) {
  RunOptions o = tiny_run(folder);
  o.model.source = base;
  o.model.pretrained = true;
  o.optimizer.galore.reset();
  o.optimizer.lora = some_adapters();
  o.optimizer.learning_rate = 0.03;
  o.warmup_steps = 0;
  o.steps = 6;
  o.checkpoint_folder = checkpoints;
  return o;
}

// The same of a BERT, whose folder was made for five labels and has no classifier.
inline RunOptions adapted_classifier(const TestFolder& folder, const std::string& checkpoints) {
  RunOptions o = classification(folder);
  nlohmann::json json = nlohmann::json::parse(*read_file(o.model.source + "/config.json"));
  json["num_labels"] = 5;
  write_model(o.model.source, *model_config_from_json(json.dump(), "test", {}), 7, "classifier");
  o.model.pretrained = true;
  o.optimizer.galore.reset();
  o.optimizer.lora = some_adapters();
  o.steps = 6;
  o.evaluate_every = 0;
  o.checkpoint_folder = checkpoints;
  return o;
}

}  // namespace galleon
