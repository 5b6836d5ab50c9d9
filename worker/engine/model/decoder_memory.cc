// What a decoder holds, and what of it shares its place.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "worker/engine/model/decoder.h"
#include "worker/engine/model/shared_memory.h"

namespace galleon {

namespace {

// Logits of a chunk of tokens stay below this. A chunk is large enough for the products over the vocabulary to run at
// full speed, and a multiple of the tiles that they are computed in.
constexpr int64_t kLogitBytes = 48LL << 20;
constexpr int64_t kHeadTile = 128;

int64_t head_rows(int64_t tokens, int64_t vocabulary) {
  return std::min(tokens, std::max<int64_t>(1, kLogitBytes / (4 * vocabulary) / kHeadTile) * kHeadTile);
}

}  // namespace

Decoder::Decoder(const ModelConfig& config, std::vector<Parameter>& parameters, int64_t batch, int64_t sequence,
                 Activations activations, Arena& arena, const std::optional<LoraOptions>& lora, int64_t kept_inputs)
    : Model(config, batch, sequence),
      layers_(parameters, arena.device(), lora),
      device_(arena.device()),
      type_(parameters.front().weight.type),
      kept_(activations),
      order_(config.layers, activations == Activations::kBlockInputs && kept_inputs > 0 ? kept_inputs : config.layers),
      embeds_again_(activations == Activations::kBlockInputs && config.layers > 1 && kept_inputs != 1 &&
                    !parameters.front().sharded),
      head_rows_(head_rows(batch * sequence, config.vocabulary)) {
  const int64_t tokens = batch * sequence;
  const int64_t hidden = config.hidden;
  auto typed = [&](const std::string& name, int64_t rows, int64_t columns, DataType type) {
    return arena.tensor(name, MemoryCategory::kActivations, rows, columns, type);
  };
  auto activation = [&](const std::string& name, int64_t rows, int64_t columns) {
    return typed(name, rows, columns, type_);
  };
  // What is a sum or a logarithm stays in fp32.
  auto statistic = [&](const std::string& name, int64_t rows, int64_t columns) {
    return typed(name, rows, columns, DataType::kFloat32);
  };
  rotary_ = statistic("rotary table", sequence, config.head_dimension);
  ids_ = typed("ids", tokens, 1, DataType::kInt32);
  targets_ = typed("targets", tokens, 1, DataType::kInt32);
  losses_ = statistic("losses", tokens, 1);
  const bool trains = activations == Activations::kAll || activations == Activations::kBlockInputs;
  const int64_t stream_bytes = SharedMemory::bytes(tokens, hidden, type_);
  const int64_t wide_bytes = SharedMemory::bytes(tokens, config.intermediate, type_);
  const int64_t logit_bytes = SharedMemory::bytes(head_rows_, config.vocabulary, DataType::kFloat32);
  const int64_t query_bytes = SharedMemory::bytes(tokens, config.query_width(), type_);
  const int64_t key_bytes = SharedMemory::bytes(tokens, config.key_value_width(), type_);
  if (trains) dx_ = activation("dx", tokens, hidden);
  const bool head_by_rows = trains && std::any_of(parameters.begin(), parameters.end(), [](const Parameter& p) {
                              return p.group == ParameterGroup::kHead && p.by_rows && p.trained >= 0;
                            });
  // The block that all others share their place with, where that place is the head's as well.
  Tensor shared_block;
  {
    int64_t passing = std::max(wide_bytes, trains ? 2 * stream_bytes : stream_bytes);
    int64_t head_bytes = stream_bytes + logit_bytes;
    int64_t block_bytes = 0;
    if (head_by_rows && activations == Activations::kBlockInputs) {
      block_bytes = 2 * query_bytes + 2 * key_bytes + stream_bytes + 2 * wide_bytes;
      head_bytes += SharedMemory::bytes(tokens, config.vocabulary, type_);
    }
    // What leaves the last block lies behind the head's, where the block's gates and ups were.
    const bool last_in_block = block_bytes > 0 && stream_bytes <= 2 * wide_bytes;
    if (last_in_block) head_bytes += stream_bytes;
    const Tensor memory = typed(block_bytes > 0 ? "block, logits" : "normed, activated, logits",
                                std::max(passing + block_bytes, head_bytes), 1, DataType::kUint8);
    if (block_bytes > 0 && memory.data != nullptr) shared_block = memory.row_range(passing, block_bytes);
    if (last_in_block && memory.data != nullptr)
      last_ = SharedMemory(memory.row_range(memory.rows - stream_bytes, stream_bytes)).next(tokens, hidden, type_);
    activated_ = SharedMemory(memory).next(tokens, config.intermediate, type_);
    SharedMemory block(memory);
    normed_ = block.next(tokens, hidden, type_);
    if (trains) dnormed_ = block.next(tokens, hidden, type_);
    SharedMemory head(memory);
    const Tensor first = head.next(tokens, hidden, type_);
    dlast_normed_ = trains ? first : Tensor{};
    last_normed_ = trains ? dx_ : first;
    logits_ = head.next(head_rows_, config.vocabulary, DataType::kFloat32);
    if (block_bytes > 0) dlogits_ = head.next(tokens, config.vocabulary, type_);
  }
  if (head_by_rows && dlogits_.data == nullptr) dlogits_ = activation("gradient of logits", tokens, config.vocabulary);
  SharedMemory in_shared_block(shared_block);
  auto in_block = [&](const std::string& name, int64_t rows, int64_t columns, DataType type) {
    return shared_block.data != nullptr ? in_shared_block.next(rows, columns, type) : typed(name, rows, columns, type);
  };
  const int64_t attention_bytes = 2 * (query_bytes + key_bytes);
  // Where gates and ups are too small for them, gradients of attention have memory of their own.
  Tensor attention_memory;
  if (trains && attention_bytes > 2 * wide_bytes)
    attention_memory = typed("gradients of attention", attention_bytes, 1, DataType::kUint8);
  std::vector<Tensor> input_places;
  for (int64_t i = 0; i < order_.places(); ++i)
    input_places.push_back(activation(absl::StrCat("computed input ", i), tokens, hidden));

  ParameterOrder order(1);  // after the embedding
  blocks_.resize(config.layers);
  for (int64_t l = 0; l < config.layers; ++l) {
    Block& b = blocks_[l];
    // Without a backward nothing is kept from block to block, but the stream itself must not be overwritten while it is
    // read.
    const bool forward_alone = activations == Activations::kNone || activations == Activations::kText;
    const bool none_kept = forward_alone && l >= 2;
    const bool inputs_kept = activations == Activations::kBlockInputs && l >= 1;
    if (none_kept) b = blocks_[l - 2];
    if (inputs_kept) b = blocks_[0];
    b.query = order.linear(config.query_key_value_bias);
    b.key = order.linear(config.query_key_value_bias);
    b.value = order.linear(config.query_key_value_bias);
    b.output = order.linear(config.output_bias);
    b.query_norm = config.query_key_norm ? order.one() : -1;
    b.key_norm = config.query_key_norm ? order.one() : -1;
    b.gate = order.linear(config.mlp_bias);
    b.up = order.linear(config.mlp_bias);
    b.down = order.linear(config.mlp_bias);
    b.attention_norm = order.one();
    b.mlp_norm = order.one();
    b.window = config.window_of(l);
    const std::string prefix = absl::StrCat("block ", l, " ");
    if (none_kept && activations == Activations::kText) {
      b.k = activation(prefix + "k", tokens, config.key_value_width());
      b.v = activation(prefix + "v", tokens, config.key_value_width());
    }
    if (none_kept) continue;
    if (order_.place(l) >= 0) {
      b.input = input_places[order_.place(l)];
    } else if (l > 0 || !embeds_again_) {
      b.input = activation(prefix + "input", tokens, hidden);
    }
    if (embeds_again_ && order_.place(l) < 0) blocks_[0].input = b.input;
    b.inverse_rms_attention = statistic(prefix + "inverse rms 1", tokens, 1);
    if (inputs_kept) continue;
    if (config.query_key_norm) {
      b.raw_q = activation(prefix + "raw q", tokens, config.query_width());
      b.raw_k = activation(prefix + "raw k", tokens, config.key_value_width());
      b.inverse_rms_q = statistic(prefix + "inverse rms q", tokens * config.heads, 1);
      b.inverse_rms_k = statistic(prefix + "inverse rms k", tokens * config.key_value_heads, 1);
    }
    b.q = in_block(prefix + "q", tokens, config.query_width(), type_);
    b.k = in_block(prefix + "k", tokens, config.key_value_width(), type_);
    b.v = in_block(prefix + "v", tokens, config.key_value_width(), type_);
    b.attended = in_block(prefix + "attended", tokens, config.query_width(), type_);
    b.log_sum = statistic(prefix + "log sum", batch * config.heads, sequence);
    b.middle = in_block(prefix + "middle", tokens, hidden, type_);
    b.inverse_rms_mlp = statistic(prefix + "inverse rms 2", tokens, 1);
    const Tensor wide = in_block(prefix + "gate, up", 2 * wide_bytes, 1, DataType::kUint8);
    SharedMemory mlp(wide);
    b.gates = mlp.next(tokens, config.intermediate, type_);
    b.ups = mlp.next(tokens, config.intermediate, type_);
    if (!trains) continue;
    SharedMemory gradients(attention_memory.data != nullptr ? attention_memory : wide);
    b.dattended = gradients.next(tokens, config.query_width(), type_);
    b.dq = gradients.next(tokens, config.query_width(), type_);
    b.dk = gradients.next(tokens, config.key_value_width(), type_);
    b.dv = gradients.next(tokens, config.key_value_width(), type_);
  }
  final_norm_ = order.one();
  head_ = config.tied_embeddings ? 0 : order.one();
  if (last_.data == nullptr) last_ = activation("last", tokens, hidden);
  inverse_rms_last_ = statistic("inverse rms last", tokens, 1);
}

}  // namespace galleon
