// The loss and the task's metrics of a model on validation data, by one rank or shared by several.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/model/model.h"
#include "worker/engine/ranks/communicator.h"
#include "worker/engine/run/metrics_file.h"

namespace galleon {

// The id of a position that holds nothing.
int32_t padding_id(const Tokenizer* tokenizer);

// Language modelling: the mean loss over the targets of the sequences in order, until `tokens` are counted (0: all).
// Ranks take batches in turn. Errors are those of the store. A collective.
absl::StatusOr<EvaluationLine> evaluate_sequences(Model& model, SequenceStore& data, int64_t tokens, int32_t padding,
                                                  Communicator& communicator, int64_t step);

// Classification: the mean loss over the sequences in order, until they have `tokens` inputs (0: all), and metrics over
// the answers of all ranks. `metrics`: names of task_metrics.h; empty: those that suit the labels.
absl::StatusOr<EvaluationLine> evaluate_labels(Model& model, Corpus& data, const LabelSet& labels,
                                               const std::vector<std::string>& metrics, int64_t tokens, int32_t padding,
                                               Communicator& communicator, int64_t step);

}  // namespace galleon
