// What a decoder holds, and what of it shares its place.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "worker/engine/model/decoder.h"
#include "worker/engine/model/shared_memory.h"

namespace galleon {

namespace {

constexpr int64_t kHeadTile = 128;

// Tokens whose logits exist at a time: as many as the device takes, and a multiple of the tiles that they are computed
// in.
int64_t head_rows(const Device& device, int64_t tokens, int64_t vocabulary) {
  const int64_t most = device.logit_bytes() / (4 * vocabulary);
  return std::min(tokens, std::max<int64_t>(1, most / kHeadTile) * kHeadTile);
}

}  // namespace

// Runs once, in the order in which members need each other.
class Decoder::Memory {
 public:
  Memory(Decoder& decoder, const std::vector<Parameter>& parameters, Arena& arena)
      : d_(decoder),
        config_(decoder.config()),
        arena_(arena),
        tokens_(decoder.batch() * decoder.sequence()),
        trains_(decoder.kept_ == Activations::kAll || decoder.kept_ == Activations::kBlockInputs),
        head_by_rows_(trains_ && std::any_of(parameters.begin(), parameters.end(),
                                             [](const Parameter& p) {
                                               return p.group == ParameterGroup::kHead && p.by_rows && p.trained >= 0;
                                             })),
        stream_bytes_(SharedMemory::bytes(tokens_, config_.hidden, d_.type_)),
        wide_bytes_(SharedMemory::bytes(tokens_, config_.intermediate, d_.type_)),
        query_bytes_(SharedMemory::bytes(tokens_, config_.query_width(), d_.type_)),
        key_bytes_(SharedMemory::bytes(tokens_, config_.key_value_width(), d_.type_)) {}

  void allocate(const ParameterNames& names) {
    d_.rotary_ = statistic("rotary table", d_.sequence(), config_.head_dimension);
    d_.ids_ = tensor("ids", tokens_, 1, DataType::kInt32);
    d_.targets_ = tensor("targets", tokens_, 1, DataType::kInt32);
    d_.losses_ = statistic("losses", tokens_, 1);
    if (trains_) d_.dx_ = activation("dx", tokens_, config_.hidden);
    share_with_head();
    share_in_blocks();
    d_.blocks_.resize(config_.layers);
    for (int64_t l = 0; l < config_.layers; ++l) block(names, l);
    if (d_.last_.data == nullptr) d_.last_ = activation("last", tokens_, config_.hidden);
    d_.inverse_rms_last_ = statistic("inverse rms last", tokens_, 1);
  }

 private:
  Tensor tensor(const std::string& name, int64_t rows, int64_t columns, DataType type) {
    return arena_.tensor(name, MemoryCategory::kActivations, rows, columns, type);
  }
  Tensor activation(const std::string& name, int64_t rows, int64_t columns) {
    return tensor(name, rows, columns, d_.type_);
  }
  // What is a sum or a logarithm stays in fp32.
  Tensor statistic(const std::string& name, int64_t rows, int64_t columns) {
    return tensor(name, rows, columns, DataType::kFloat32);
  }
  // In the block that all others share their place with, where that place is the head's as well.
  Tensor in_block(const std::string& name, int64_t rows, int64_t columns, DataType type) {
    return block_is_shared_ ? shared_block_.next(rows, columns, type) : tensor(name, rows, columns, type);
  }

  void share_with_head();
  void share_in_blocks();
  void block(const ParameterNames& names, int64_t l);
  void block_activations(const std::string& prefix, Block& b);

  Decoder& d_;
  const ModelConfig& config_;
  Arena& arena_;
  const int64_t tokens_;
  const bool trains_;
  const bool head_by_rows_;
  const int64_t stream_bytes_, wide_bytes_, query_bytes_, key_bytes_;
  bool block_is_shared_ = false;
  SharedMemory shared_block_{Tensor{}};
  Tensor attention_memory_;  // for gradients of attention, where gates and ups are too small for them
  std::vector<Tensor> input_places_;
};

// The piece of memory that the norms of blocks and the head use in turns.
void Decoder::Memory::share_with_head() {
  const int64_t hidden = config_.hidden;
  const int64_t passing = std::max(wide_bytes_, trains_ ? 2 * stream_bytes_ : stream_bytes_);
  int64_t head_bytes = stream_bytes_ + SharedMemory::bytes(d_.head_rows_, config_.vocabulary, DataType::kFloat32);
  int64_t block_bytes = 0;
  if (head_by_rows_ && d_.kept_ == Activations::kBlockInputs) {
    block_bytes = 2 * query_bytes_ + 2 * key_bytes_ + stream_bytes_ + 2 * wide_bytes_;
    head_bytes += SharedMemory::bytes(tokens_, config_.vocabulary, d_.type_);
  }
  // What leaves the last block lies behind the head's, where the block's gates and ups were.
  const bool last_in_block = block_bytes > 0 && stream_bytes_ <= 2 * wide_bytes_;
  if (last_in_block) head_bytes += stream_bytes_;
  const Tensor memory = tensor(block_bytes > 0 ? "block, logits" : "normed, activated, logits",
                               std::max(passing + block_bytes, head_bytes), 1, DataType::kUint8);
  if (block_bytes > 0 && memory.data != nullptr) {
    block_is_shared_ = true;
    shared_block_ = SharedMemory(memory.row_range(passing, block_bytes));
  }
  if (last_in_block && memory.data != nullptr)
    d_.last_ =
        SharedMemory(memory.row_range(memory.rows - stream_bytes_, stream_bytes_)).next(tokens_, hidden, d_.type_);
  d_.activated_ = SharedMemory(memory).next(tokens_, config_.intermediate, d_.type_);
  SharedMemory block(memory);
  d_.normed_ = block.next(tokens_, hidden, d_.type_);
  if (trains_) d_.dnormed_ = block.next(tokens_, hidden, d_.type_);
  SharedMemory head(memory);
  const Tensor first = head.next(tokens_, hidden, d_.type_);
  d_.dlast_normed_ = trains_ ? first : Tensor{};
  d_.last_normed_ = trains_ ? d_.dx_ : first;
  d_.logits_ = head.next(d_.head_rows_, config_.vocabulary, DataType::kFloat32);
  if (block_bytes > 0) d_.dlogits_ = head.next(tokens_, config_.vocabulary, d_.type_);
  if (head_by_rows_ && d_.dlogits_.data == nullptr)
    d_.dlogits_ = activation("gradient of logits", tokens_, config_.vocabulary);
}

// What blocks use one after the other.
void Decoder::Memory::share_in_blocks() {
  const int64_t attention_bytes = 2 * (query_bytes_ + key_bytes_);
  if (trains_ && attention_bytes > 2 * wide_bytes_)
    attention_memory_ = tensor("gradients of attention", attention_bytes, 1, DataType::kUint8);
  for (int64_t i = 0; i < d_.order_.places(); ++i)
    input_places_.push_back(activation(absl::StrCat("computed input ", i), tokens_, config_.hidden));
}

void Decoder::Memory::block(const ParameterNames& names, int64_t l) {
  Block& b = d_.blocks_[l];
  // Without a backward nothing is kept from block to block, but the stream itself must not be overwritten while it is
  // read.
  const bool forward_alone = d_.kept_ == Activations::kNone || d_.kept_ == Activations::kText;
  const bool none_kept = forward_alone && l >= 2;
  const bool inputs_kept = d_.kept_ == Activations::kBlockInputs && l >= 1;
  if (none_kept) b = d_.blocks_[l - 2];
  if (inputs_kept) b = d_.blocks_[0];
  d_.bind(names, l, b);
  const std::string prefix = absl::StrCat("block ", l, " ");
  if (none_kept && d_.kept_ == Activations::kText) {
    b.k = activation(prefix + "k", tokens_, config_.key_value_width());
    b.v = activation(prefix + "v", tokens_, config_.key_value_width());
  }
  if (none_kept) return;
  if (d_.order_.place(l) >= 0) {
    b.input = input_places_[d_.order_.place(l)];
  } else if (l > 0 || !d_.recomputes_embedding_) {
    b.input = activation(prefix + "input", tokens_, config_.hidden);
  }
  if (d_.recomputes_embedding_ && d_.order_.place(l) < 0) d_.blocks_[0].input = b.input;
  b.inverse_rms_attention = statistic(prefix + "inverse rms 1", tokens_, 1);
  if (!inputs_kept) block_activations(prefix, b);
}

void Decoder::Memory::block_activations(const std::string& prefix, Block& b) {
  if (config_.query_key_norm) {
    b.raw_q = activation(prefix + "raw q", tokens_, config_.query_width());
    b.raw_k = activation(prefix + "raw k", tokens_, config_.key_value_width());
    b.inverse_rms_q = statistic(prefix + "inverse rms q", tokens_ * config_.heads, 1);
    b.inverse_rms_k = statistic(prefix + "inverse rms k", tokens_ * config_.key_value_heads, 1);
  }
  b.q = in_block(prefix + "q", tokens_, config_.query_width(), d_.type_);
  b.k = in_block(prefix + "k", tokens_, config_.key_value_width(), d_.type_);
  b.v = in_block(prefix + "v", tokens_, config_.key_value_width(), d_.type_);
  b.attended = in_block(prefix + "attended", tokens_, config_.query_width(), d_.type_);
  b.log_sum = statistic(prefix + "log sum", d_.batch() * config_.heads, d_.sequence());
  b.middle = in_block(prefix + "middle", tokens_, config_.hidden, d_.type_);
  b.inverse_rms_mlp = statistic(prefix + "inverse rms 2", tokens_, 1);
  const Tensor wide = in_block(prefix + "gate, up", 2 * wide_bytes_, 1, DataType::kUint8);
  SharedMemory mlp(wide);
  b.gates = mlp.next(tokens_, config_.intermediate, d_.type_);
  b.ups = mlp.next(tokens_, config_.intermediate, d_.type_);
  if (!trains_) return;
  SharedMemory gradients(attention_memory_.data != nullptr ? attention_memory_ : wide);
  b.dattended = gradients.next(tokens_, config_.query_width(), d_.type_);
  b.dq = gradients.next(tokens_, config_.query_width(), d_.type_);
  b.dk = gradients.next(tokens_, config_.key_value_width(), d_.type_);
  b.dv = gradients.next(tokens_, config_.key_value_width(), d_.type_);
}

void Decoder::bind(const ParameterNames& names, int64_t number, Block& b) const {
  const std::string prefix = absl::StrCat("model.layers.", number, ".");
  const std::string attention = prefix + "self_attn.";
  b.query = names.linear(attention + "q_proj");
  b.key = names.linear(attention + "k_proj");
  b.value = names.linear(attention + "v_proj");
  b.output = names.linear(attention + "o_proj");
  b.query_norm = config().query_key_norm ? names.at(attention + "q_norm.weight") : -1;
  b.key_norm = config().query_key_norm ? names.at(attention + "k_norm.weight") : -1;
  b.gate = names.linear(prefix + "mlp.gate_proj");
  b.up = names.linear(prefix + "mlp.up_proj");
  b.down = names.linear(prefix + "mlp.down_proj");
  b.attention_norm = names.at(prefix + "input_layernorm.weight");
  b.mlp_norm = names.at(prefix + "post_attention_layernorm.weight");
  b.window = config().window_of(number);
}

Decoder::Decoder(const ModelConfig& config, std::vector<Parameter>& parameters, int64_t batch, int64_t sequence,
                 Activations activations, Arena& arena, const std::optional<LoraOptions>& lora, int64_t kept_inputs)
    : Model(config, batch, sequence),
      layers_(parameters, arena.device(), lora),
      device_(arena.device()),
      type_(parameters.front().weight.type),
      kept_(activations),
      order_(config.layers, activations == Activations::kBlockInputs && kept_inputs > 0 ? kept_inputs : config.layers),
      recomputes_embedding_(activations == Activations::kBlockInputs && config.layers > 1 && kept_inputs != 1 &&
                            !parameters.front().sharded),
      head_rows_(head_rows(arena.device(), batch * sequence, config.vocabulary)) {
  const ParameterNames names(parameters);
  embedding_ = names.at("model.embed_tokens.weight");
  final_norm_ = names.at("model.norm.weight");
  head_ = config.tied_embeddings ? embedding_ : names.at("lm_head.weight");
  Memory(*this, parameters, arena).allocate(names);
}

}  // namespace galleon
