// What a job's options come to once its tokenizer, its model's folder and its labels have been read.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/data/tsv.h"
#include "worker/engine/ground/options.h"
#include "worker/engine/run/engine.h"

namespace galleon {

// The model's shape and what depends on it, known before any data is read.
struct ResolvedJob {
  ModelConfig config;
  std::unique_ptr<Tokenizer> tokenizer;  // null for token files
  LabelSet labels;                       // of a classification
  std::string chat_template;             // of conversations, its text
  int64_t grown_from = 0;                // vocab_size of a pretrained folder that model.overrides grows; 0: none
};
// Opens the tokenizer and reads the model's shape; checks that they fit each other and the job.
absl::StatusOr<ResolvedJob> resolve_job(const RunOptions& options);

// The engine's shape. Schedule lengths that come from the data are filled in by the run.
absl::StatusOr<EngineShape> engine_shape(const RunOptions& options, const ModelConfig& config, int64_t ranks);

}  // namespace galleon
