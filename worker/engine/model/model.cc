#include "worker/engine/model/model.h"

#include "worker/engine/model/decoder.h"
#include "worker/engine/model/encoder.h"

namespace galleon {

std::vector<float> Model::next_logits(const std::vector<int32_t>&) {
  GALLEON_CHECK(false) << "a model that classifies has no next token";
  return {};
}

std::vector<float> Model::extend_text(const std::vector<int32_t>&) {
  GALLEON_CHECK(false) << "a model that classifies has no text";
  return {};
}

void Model::clear_text() {}

std::vector<float> Model::outputs(const Batch&) {
  GALLEON_CHECK(false) << "a language model does not classify";
  return {};
}

void Model::check_batch(const Batch& batch, bool executes) const {
  GALLEON_CHECK(batch.sequences >= 1 && batch.sequences <= batch_ && batch.length >= 1 && batch.length <= sequence_)
      << "a batch of " << batch.sequences << " sequences of " << batch.length << " in a model with room for " << batch_
      << " of " << sequence_;
  if (!executes) return;
  const auto positions = static_cast<size_t>(batch.sequences * batch.length);
  const auto fits = [](size_t size, size_t expected) { return size == 0 || size == expected; };
  GALLEON_CHECK(batch.ids.size() == positions && fits(batch.token_types.size(), positions) &&
                fits(batch.targets.size(), positions) &&
                fits(batch.lengths.size(), static_cast<size_t>(batch.sequences)) &&
                fits(batch.labels.size(), static_cast<size_t>(batch.sequences)))
      << "a batch of " << batch.sequences << "x" << batch.length << " has " << batch.ids.size() << " ids, "
      << batch.lengths.size() << " lengths, " << batch.token_types.size() << " token types, " << batch.targets.size()
      << " targets, " << batch.labels.size() << " labels";
  for (const int32_t length : batch.lengths) {
    GALLEON_CHECK(length >= 1 && length <= batch.length)
        << "a sequence of " << length << " in rows of " << batch.length;
  }
}

std::unique_ptr<Model> make_model(const ModelConfig& config, std::vector<Parameter>& parameters, int64_t batch,
                                  int64_t sequence, Activations activations, Arena& arena,
                                  const std::optional<LoraOptions>& lora, int64_t kept_inputs) {
  if (config.encoder())
    return std::make_unique<Encoder>(config, parameters, batch, sequence, activations, arena, lora, kept_inputs);
  return std::make_unique<Decoder>(config, parameters, batch, sequence, activations, arena, lora, kept_inputs);
}

}  // namespace galleon
