// What an encoder holds, and under which names its parameters are found.
#include "absl/strings/str_cat.h"
#include "worker/engine/model/encoder.h"

namespace galleon {

// Runs once.
class Encoder::Memory {
 public:
  Memory(Encoder& encoder, Arena& arena)
      : e_(encoder),
        config_(encoder.config()),
        arena_(arena),
        batch_(encoder.batch()),
        tokens_(encoder.batch() * encoder.sequence()) {}

  void allocate(const ParameterNames& names) {
    inputs();
    embeddings();
    for (int64_t l = 0; l < config_.layers; ++l) block(names, l);
    head();
    if (e_.kept_ != Activations::kNone) gradients();
  }

 private:
  Tensor tensor(const std::string& name, int64_t rows, int64_t columns, DataType type) {
    return arena_.tensor(name, MemoryCategory::kActivations, rows, columns, type);
  }
  Tensor activation(const std::string& name, int64_t rows, int64_t columns) {
    return tensor(name, rows, columns, e_.type_);
  }
  Tensor statistic(const std::string& name, int64_t rows, int64_t columns) {
    return tensor(name, rows, columns, DataType::kFloat32);
  }
  Tensor integers(const std::string& name, int64_t count) { return tensor(name, count, 1, DataType::kInt32); }
  // (B·T, C)
  Tensor stream(const std::string& name) { return activation(name, tokens_, config_.hidden); }

  void inputs();
  void embeddings();
  void block(const ParameterNames& names, int64_t l);
  void head();
  void gradients();

  Encoder& e_;
  const ModelConfig& config_;
  Arena& arena_;
  const int64_t batch_;
  const int64_t tokens_;
  std::vector<Tensor> input_places_;
};

void Encoder::Memory::inputs() {
  e_.ids_ = integers("ids", tokens_);
  e_.position_ids_ = integers("position ids", tokens_);
  e_.type_ids_ = integers("token types", tokens_);
  e_.starts_ = integers("row starts", batch_ + 2);
  e_.row_numbers_ = integers("row numbers", tokens_);
  e_.targets_ = integers("targets", batch_);
  e_.labels_ = statistic("labels", batch_, 1);
  e_.losses_ = statistic("losses", batch_, 1);
}

void Encoder::Memory::embeddings() {
  e_.embedding_sum_ = stream("embedding sum");
  e_.embedding_statistics_ = statistic("embedding statistics", tokens_, 2);
  e_.scratch_ = stream("scratch");
  e_.activated_ = activation("activated", tokens_, config_.intermediate);
  for (int64_t i = 0; i < e_.order_.places(); ++i) input_places_.push_back(stream(absl::StrCat("computed input ", i)));
}

void Encoder::Memory::block(const ParameterNames& names, int64_t l) {
  Block& b = e_.blocks_[l];
  // Without a backward nothing is kept from block to block, but a block's input must not be overwritten while it is
  // read.
  const bool none_kept = e_.kept_ == Activations::kNone && l >= 2;
  const bool inputs_kept = e_.kept_ == Activations::kBlockInputs && l >= 1;
  if (none_kept) b = e_.blocks_[l - 2];
  if (inputs_kept) b = e_.blocks_[0];
  e_.bind(names, l, b);
  if (none_kept) return;
  const std::string prefix = absl::StrCat("block ", l, " ");
  b.input = e_.order_.place(l) < 0 ? stream(prefix + "input") : input_places_[e_.order_.place(l)];
  if (inputs_kept) return;
  b.q = stream(prefix + "q");
  b.k = stream(prefix + "k");
  b.v = stream(prefix + "v");
  b.attended = stream(prefix + "attended");
  b.log_sum = statistic(prefix + "log sum", (batch_ + 1) * config_.heads, e_.sequence());
  b.attention_sum = stream(prefix + "attention sum");
  b.attention_statistics = statistic(prefix + "attention statistics", tokens_, 2);
  b.wide = activation(prefix + "wide", tokens_, config_.intermediate);
  b.mlp_sum = stream(prefix + "mlp sum");
  b.mlp_statistics = statistic(prefix + "mlp statistics", tokens_, 2);
}

void Encoder::Memory::head() {
  e_.last_ = stream("last");
  e_.first_ = activation("first tokens", batch_, config_.hidden);
  e_.pooled_ = activation("pooled", batch_, config_.hidden);
  e_.dropped_ = activation("dropped", batch_, config_.hidden);
  e_.outputs_ = statistic("outputs", batch_, config_.labels);
}

void Encoder::Memory::gradients() {
  e_.dx_ = stream("dx");
  e_.dscratch_ = stream("dscratch");
  e_.dq_ = stream("dq");
  e_.dk_ = stream("dk");
  e_.dv_ = stream("dv");
  e_.dpooled_ = activation("dpooled", batch_, config_.hidden);
}

Encoder::Norm Encoder::norm_of(const ParameterNames& names, const std::string& name) {
  return {names.at(name + ".weight"), names.at(name + ".bias")};
}

std::string Encoder::body() const {
  return absl::StrCat(architecture_name(config().architecture), ".");
}

void Encoder::bind(const ParameterNames& names, int64_t number, Block& b) const {
  const std::string prefix = absl::StrCat(body(), "encoder.layer.", number, ".");
  b.number = number;
  b.query = names.linear(prefix + "attention.self.query");
  b.key = names.linear(prefix + "attention.self.key");
  b.value = names.linear(prefix + "attention.self.value");
  b.output = names.linear(prefix + "attention.output.dense");
  b.attention_norm = norm_of(names, prefix + "attention.output.LayerNorm");
  b.up = names.linear(prefix + "intermediate.dense");
  b.down = names.linear(prefix + "output.dense");
  b.mlp_norm = norm_of(names, prefix + "output.LayerNorm");
}

void Encoder::bind(const ParameterNames& names) {
  const std::string embeddings = body() + "embeddings.";
  words_ = names.at(embeddings + "word_embeddings.weight");
  positions_ = names.at(embeddings + "position_embeddings.weight");
  types_ = names.at(embeddings + "token_type_embeddings.weight");
  embedding_norm_ = norm_of(names, embeddings + "LayerNorm");
  const bool roberta = config().architecture == Architecture::kRoberta;
  dense_ = names.linear(roberta ? "classifier.dense" : body() + "pooler.dense");
  classifier_ = names.linear(roberta ? "classifier.out_proj" : "classifier");
}

Encoder::Encoder(const ModelConfig& config, std::vector<Parameter>& parameters, int64_t batch, int64_t sequence,
                 Activations activations, Arena& arena, const std::optional<LoraOptions>& lora, int64_t kept_inputs)
    : Model(config, batch, sequence),
      layers_(parameters, arena.device(), lora),
      device_(arena.device()),
      type_(parameters.front().weight.type),
      kept_(activations),
      order_(config.layers, activations == Activations::kBlockInputs && kept_inputs > 0 ? kept_inputs : config.layers) {
  GALLEON_CHECK(sequence <= config.longest_sequence())
      << "sequences of " << sequence << " in a model with " << config.longest_sequence() << " positions";
  const ParameterNames names(parameters);
  bind(names);
  blocks_.resize(config.layers);
  Memory(*this, arena).allocate(names);
}

}  // namespace galleon
