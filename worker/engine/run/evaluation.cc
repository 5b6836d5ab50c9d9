#include "worker/engine/run/evaluation.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "common/base/status_macros.h"
#include "worker/engine/data/step_feed.h"
#include "worker/engine/run/task_metrics.h"

namespace galleon {

namespace {

// Goes over the sequences in order, a round of one batch for each rank at a time, and hands the rank's own to `own`,
// which takes the first `counted` rows of it. All ranks make as many passes, because they gather sharded weights
// together; one whose share is empty makes a pass that does not count. `weigh` is what the limit is about; every rank
// counts all of it.
absl::Status for_own_batches(
    Model& model, SequenceStore& data, int64_t limit, int32_t padding, const Communicator& communicator, int64_t& total,
    const std::function<absl::StatusOr<int64_t>(int64_t index)>& weigh,
    const std::function<void(const Batch& batch, const std::vector<uint32_t>& files, int64_t counted)>& own) {
  const int64_t rows = model.batch();
  const int64_t round = rows * communicator.ranks();
  const BatchMaker maker(model.sequence(), padding);
  Batch batch;
  Sequence sequence;
  std::vector<uint32_t> files;
  for (int64_t first = 0; limit == 0 || total < limit; first += round) {
    absl::StatusOr<StoreProgress> progress = data.wait_for(first + round);
    if (!progress.ok()) return progress.status();
    int64_t count = std::min(round, progress->sequences - first);
    if (count <= 0) break;
    for (int64_t row = 0; row < count; ++row) {
      absl::StatusOr<int64_t> weight = weigh(first + row);
      if (!weight.ok()) return weight.status();
      total += *weight;
      // What reaches the limit is the last.
      if (limit > 0 && total >= limit) count = row + 1;
    }
    const int64_t begin = communicator.rank() * rows;
    const int64_t counted = std::clamp<int64_t>(count - begin, 0, rows);
    maker.begin(std::max<int64_t>(counted, 1), batch);
    files.clear();
    for (int64_t row = 0; row < batch.sequences; ++row) {
      RETURN_IF_ERROR(data.read(first + (counted > 0 ? begin + row : 0), sequence));
      maker.add(sequence, row, batch);
      files.push_back(sequence.file);
    }
    maker.end(batch);
    own(batch, files, counted);
  }
  return absl::OkStatus();
}

// The first error of any rank, on all of them.
absl::Status agreed(const absl::Status& own, Communicator& communicator) {
  std::vector<double> failed{own.ok() ? 0.0 : 1.0};
  communicator.all_reduce_host(failed);
  if (!own.ok()) return own;
  if (failed[0] > 0) return absl::UnavailableError("another rank could not read the data of the evaluation");
  return communicator.status();
}

}  // namespace

int32_t padding_id(const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return 0;
  const SpecialTokens special = tokenizer->special();
  return special.padding >= 0 ? special.padding : std::max(special.end, 0);
}

absl::StatusOr<EvaluationLine> evaluate_sequences(Model& model, SequenceStore& data, int64_t tokens, int32_t padding,
                                                  Communicator& communicator, int64_t step) {
  double loss = 0;
  int64_t targets = 0;
  const absl::Status own = for_own_batches(
      model, data, tokens, padding, communicator, targets, [&](int64_t index) { return data.targets(index); },
      [&](const Batch& batch, const std::vector<uint32_t>&, int64_t counted) {
        const double sum = model.forward_loss(batch);
        if (counted > 0) loss += sum;
      });
  RETURN_IF_ERROR(agreed(own, communicator));
  std::vector<double> sums{loss};
  communicator.all_reduce_host(sums);
  EvaluationLine line;
  line.step = step;
  line.validation_tokens = targets;
  line.validation_loss = sums[0] / static_cast<double>(targets);
  return line;
}

absl::StatusOr<EvaluationLine> evaluate_labels(Model& model, Corpus& data, const LabelSet& labels,
                                               const std::vector<std::string>& metrics, int64_t tokens, int32_t padding,
                                               Communicator& communicator, int64_t step) {
  // Of each answer: the outputs, the label, the file.
  const auto outputs = static_cast<size_t>(labels.outputs());
  std::string own_answers;
  const auto append = [&](const auto& value) {
    own_answers.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  int64_t inputs = 0;
  const absl::Status own = for_own_batches(
      model, data.store(), tokens, padding, communicator, inputs,
      [&](int64_t index) { return data.store().inputs(index); },
      [&](const Batch& batch, const std::vector<uint32_t>& files, int64_t counted) {
        const std::vector<float> values = model.outputs(batch);
        for (int64_t row = 0; row < counted; ++row) {
          for (size_t i = 0; i < outputs; ++i) append(values[row * outputs + i]);
          append(batch.labels[row]);
          append(files[row]);
        }
      });
  RETURN_IF_ERROR(agreed(own, communicator));
  std::vector<TaskAnswer> answers;
  for (const std::string& text : communicator.all_gather_text(own_answers)) {
    const size_t size = (outputs + 2) * 4;
    for (size_t at = 0; at + size <= text.size(); at += size) {
      TaskAnswer answer;
      answer.outputs.resize(outputs);
      std::memcpy(answer.outputs.data(), text.data() + at, outputs * 4);
      std::memcpy(&answer.label, text.data() + at + outputs * 4, 4);
      std::memcpy(&answer.file, text.data() + at + outputs * 4 + 4, 4);
      answers.push_back(std::move(answer));
    }
  }
  if (!communicator.status().ok()) return communicator.status();
  const TaskScore score = task_score(answers, labels, metrics, data.files());
  EvaluationLine line;
  line.step = step;
  line.validation_tokens = inputs;
  line.validation_loss = score.loss;
  line.metrics = score.metrics;
  return line;
}

}  // namespace galleon
