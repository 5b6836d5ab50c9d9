// Ranges and contradictions. Each rule names the keys that it concerns and what would be accepted.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "common/base/object_address.h"
#include "common/base/tracking_address.h"
#include "proto/jobfile/issues.h"
#include "proto/jobfile/keys.h"
#include "proto/jobfile/labels.h"

namespace galleon {

namespace {

constexpr uint32_t kMaxRanks = 1024;
// Far beyond what any machine holds, and small enough that products of them and a model's shape are exact.
constexpr uint32_t kLongestSequence = 1 << 24;
constexpr uint32_t kLargestBatch = 1 << 24;
constexpr uint64_t kMostTokensAtOnce = uint64_t{1} << 30;
// As job.proto has them.
constexpr double kDefaultBeta2 = 0.999;
constexpr double kDefaultMomentum = 0.9;
constexpr uint32_t kDefaultBlockSize = 256;
// Of a mixture: entries, and how much less than the largest a weight may be.
constexpr int kMostSources = 1000;
constexpr double kSmallestWeight = 1e-9;

class Rules {
 public:
  Rules(const v1::Job& job, JobIssues& issues) : job_(job), issues_(issues) {}

  void check() {
    check_name();
    check_words();
    check_model();
    check_data();
    check_optimizer();
    check_schedule();
    check_low_rank();
    check_training();
    check_rest();
  }

 private:
  void require(bool condition, absl::string_view key, absl::string_view text) {
    if (!condition) issues_.push_back({std::string(key), std::string(text)});
  }

  void require_number(bool condition, absl::string_view key, double value, absl::string_view accepted) {
    if (!condition) issues_.push_back({std::string(key), absl::StrCat(value, " is not accepted; ", accepted)});
  }

  // Finite and within [low, high] or [low, high).
  void require_range(absl::string_view key, double value, double low, double high, bool open_end) {
    const bool inside = std::isfinite(value) && value >= low && (open_end ? value < high : value <= high);
    require_number(inside, key, value, absl::StrCat("from ", low, open_end ? " to below " : " to ", high));
  }

  void require_positive(absl::string_view key, double value) {
    require_number(std::isfinite(value) && value > 0, key, value, "greater than 0");
  }

  void require_enum(bool set, absl::string_view key) { require(set, key, "is required"); }

  void check_name() {
    const std::string& name = job_.name();
    const bool good = !name.empty() && name.size() <= 48 && std::all_of(name.begin(), name.end(), [](char c) {
      return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
    });
    require(good, "name", absl::StrCat("\"", name, "\" is not accepted; 1 to 48 lower-case letters, digits and '-'"));
    require_enum(job_.task() != v1::TASK_UNSPECIFIED, "task");
  }

  void check_words() {
    require(job_.labels_size() <= kMostLabels, "labels",
            absl::StrCat(job_.labels_size(), " are not accepted; at most ", kMostLabels));
    for (const auto& [key, value] : job_.labels()) {
      const std::string fault = label_key_fault(key);
      const std::string name = fault.empty() ? absl::StrCat("labels.", key) : "labels";
      require(fault.empty(), name, fault);
      const std::string value_fault = label_value_fault(value);
      require(value_fault.empty(), name, value_fault);
    }
    const std::string& note = job_.note();
    require(note.size() <= kLongestNote, "note",
            absl::StrCat("is of ", note.size(), " bytes, at most ", kLongestNote, " are accepted"));
    require(
        std::none_of(note.begin(), note.end(), [](char c) { return absl::ascii_iscntrl(c) && c != '\n' && c != '\t'; }),
        "note", "holds control characters; text in lines is accepted");
  }

  void check_model() {
    const v1::Model& model = job_.model();
    const bool preset = absl::StartsWith(model.source(), "preset:");
    require(!model.source().empty() && model.source() != "preset:", "model.source",
            "is empty; preset:NAME or a folder in Hugging Face layout");
    check_place("model.source", model.source());
    require(!(preset && model.init() == v1::Model::INIT_PRETRAINED), "model.init",
            absl::StrCat("pretrained contradicts model.source ", model.source(),
                         ", which has no weights; random, or a folder with weights as model.source"));
  }

  // A path, or an address in an object store.
  void check_place(absl::string_view key, const std::string& place) {
    if (!is_address(place)) return;
    const absl::Status status = check_address(place);
    require(status.ok(), key, status.message());
  }

  void check_files(absl::string_view key, const google::protobuf::RepeatedPtrField<std::string>& files) {
    for (int i = 0; i < files.size(); ++i) {
      require(!files[i].empty(), absl::StrCat(key, "[", i, "]"), "is empty; a path or a glob is accepted");
      check_place(absl::StrCat(key, "[", i, "]"), files[i]);
    }
  }

  void check_mixture() {
    const v1::Data& data = job_.data();
    const int weights = data.train_weights_size();
    if (weights == 0) return;
    if (weights != data.train_size()) {
      return require(false, "data.train_weights",
                     absl::StrCat(weights, " are not accepted; one for each of the ", data.train_size(),
                                  " entries of data.train, or none"));
    }
    require_number(weights <= kMostSources, "data.train", weights,
                   absl::StrCat("at most ", kMostSources, " entries with weights"));
    const double largest = *std::max_element(data.train_weights().begin(), data.train_weights().end());
    for (int i = 0; i < weights; ++i) {
      const std::string key = absl::StrCat("data.train[", i, "].weight");
      const double weight = data.train_weights(i);
      require_positive(key, weight);
      if (std::isfinite(weight) && weight > 0)
        require_number(weight >= largest * kSmallestWeight, key, weight,
                       absl::StrCat("at least a billionth of the largest weight, ", largest));
    }
  }

  // What stands at an end of each document of text.
  void check_token(absl::string_view key, bool given, const std::string& token) {
    if (!given || token == "auto") return;
    const v1::Data::Format format = job_.data().format();
    require(!token.empty(), key, "is empty; auto, none, or a token's text is accepted");
    require(format != v1::Data::FORMAT_TOKENS, key,
            "contradicts data.format: tokens, whose files are tokenized already; leave it out");
    require(format != v1::Data::FORMAT_CHAT, key,
            "contradicts data.format: chat, whose template writes such tokens; leave it out");
    require(job_.task() != v1::TASK_CLASSIFY, key,
            "contradicts task: classify, whose rows have the model's own layout; leave it out");
  }

  void check_data() {
    const v1::Data& data = job_.data();
    const bool tokens = data.format() == v1::Data::FORMAT_TOKENS;
    require(tokens || (job_.has_tokenizer() && !job_.tokenizer().empty()), "tokenizer",
            "is required unless data.format is tokens: a SentencePiece .model, a tokenizer.json, a folder, or bytes");
    require(!tokens || !job_.has_tokenizer(), "tokenizer",
            "contradicts data.format: tokens, whose files are tokenized already; leave tokenizer out");
    require(!data.train().empty(), "data.train", "is empty; at least one glob is accepted");
    check_files("data.train", data.train());
    check_files("data.validation", data.validation());
    check_mixture();
    require_number(data.sequence_length() >= 1 && data.sequence_length() <= kLongestSequence, "data.sequence_length",
                   data.sequence_length(), absl::StrCat("from 1 to ", kLongestSequence));
    check_place("tokenizer", job_.tokenizer());
    check_place("data.chat_template", data.chat_template());
    require(!data.text_field().empty(), "data.text_field", "is empty; the name of a field is accepted");

    require(!(tokens && data.has_packing() && !data.packing()), "data.packing",
            "false contradicts data.format: tokens, whose files do not say where a document ends; true");
    const bool classify = job_.task() == v1::TASK_CLASSIFY;
    require(!data.has_glue_task() || classify, "data.glue_task", "contradicts task; it needs task: classify");
    const bool rows = data.format() == v1::Data::FORMAT_TSV || data.format() == v1::Data::FORMAT_CSV ||
                      data.format() == v1::Data::FORMAT_JSONL || data.format() == v1::Data::FORMAT_AUTO;
    require(!classify || rows, "data.format", "contradicts task: classify; tsv, csv, jsonl or auto");
    require(data.format() != v1::Data::FORMAT_TSV || classify, "data.format",
            "tsv contradicts task; it needs task: classify");
    require(data.format() != v1::Data::FORMAT_CHAT || job_.task() == v1::TASK_FINETUNE, "data.format",
            "chat contradicts task; it needs task: finetune");
    require(!data.has_chat_template() || data.format() == v1::Data::FORMAT_CHAT, "data.chat_template",
            "contradicts data.format; it needs format: chat");
    if (data.has_template_date()) {
      absl::CivilDay day;
      const bool good =
          absl::ParseCivilTime(data.template_date(), &day) && absl::FormatCivilTime(day) == data.template_date();
      require(good, "data.template_date",
              absl::StrCat("\"", data.template_date(), "\" is not accepted; a date such as 2024-07-26, or null"));
      require(data.format() == v1::Data::FORMAT_CHAT, "data.template_date",
              "contradicts data.format; it needs format: chat");
    }
    constexpr uint64_t kDefaultMost = 1000;
    require(data.bad_rows() == v1::Data::BAD_ROWS_SKIP || data.max_bad_rows() == kDefaultMost, "data.max_bad_rows",
            "contradicts data.bad_rows: refuse, which skips none; it belongs to skip");
    check_token("data.begin_token", data.has_begin_token(), data.begin_token());
    check_token("data.end_token", data.has_end_token(), data.end_token());
    const v1::Columns& columns = data.columns();
    const bool default_columns =
        columns.text_size() == 1 && columns.text(0) == "sentence" && columns.label() == "label";
    require(!data.has_glue_task() || default_columns, "data.columns",
            "contradicts data.glue_task, which has its own columns; give one of the two");
    require(default_columns || classify, "data.columns", "contradicts task; it needs task: classify");
    require(columns.text_size() == 1 || columns.text_size() == 2, "data.columns.text",
            "one or two columns are accepted");
  }

  void check_optimizer() {
    const v1::Optimizer& o = job_.optimizer();
    require_enum(o.rule() != v1::Optimizer::RULE_UNSPECIFIED, "optimizer.rule");
    require_positive("optimizer.learning_rate", o.learning_rate());
    if (o.has_beta1()) require_range("optimizer.beta1", o.beta1(), 0, 1, true);
    require_range("optimizer.beta2", o.beta2(), 0, 1, true);
    require_range("optimizer.momentum", o.momentum(), 0, 1, true);
    if (o.has_epsilon()) require_positive("optimizer.epsilon", o.epsilon());
    const uint32_t block = o.block_size();
    require_number(block >= 64 && block <= 4096 && (block & (block - 1)) == 0, "optimizer.block_size", block,
                   "a power of two from 64 to 4096");
    require_number(std::isfinite(o.weight_decay()) && o.weight_decay() >= 0, "optimizer.weight_decay", o.weight_decay(),
                   "0 or more");
    require(o.learning_rate() * o.weight_decay() < 1, "optimizer.weight_decay",
            absl::StrCat(o.weight_decay(), " contradicts optimizer.learning_rate ", o.learning_rate(),
                         ": their product is the part of a weight that a step takes away; below 1"));
    check_groups();
    check_rule();
    require_number(std::isfinite(o.clip_norm()) && o.clip_norm() >= 0, "optimizer.clip_norm", o.clip_norm(),
                   "0 (off) or more");
    require(!(o.clip_norm() > 0 && o.update() == v1::Optimizer::UPDATE_PER_LAYER), "optimizer.clip_norm",
            "contradicts optimizer.update: per_layer, which never sees the norm of all gradients; clip_norm: 0 or "
            "update: per_step");
    const v1::Training& t = job_.training();
    require(
        o.clip_space() != v1::Optimizer::CLIP_SPACE_DENSE ||
            (job_.parallel().ranks() == 1 && t.global_batch() == t.micro_batch()),
        "optimizer.clip_space",
        absl::StrCat("dense needs parallel.ranks: 1 and training.global_batch equal to training.micro_batch (they are ",
                     job_.parallel().ranks(), ", ", t.global_batch(), " and ", t.micro_batch(), "); projected"));
  }

  void check_groups() {
    const v1::Optimizer& o = job_.optimizer();
    const v1::Rates& rates = o.rates();
    const auto check_rate = [&](absl::string_view key, bool given, double ratio) {
      if (!given) return;
      require_positive(key, ratio);
      require(ratio <= 0 || o.learning_rate() * ratio * o.weight_decay() < 1, key,
              absl::StrCat(ratio, " contradicts optimizer.learning_rate ", o.learning_rate(),
                           " and optimizer.weight_decay ", o.weight_decay(),
                           ": their product is the part of a weight that a step takes away; below 1"));
    };
    check_rate("optimizer.rates.embedding", rates.has_embedding(), rates.embedding());
    check_rate("optimizer.rates.head", rates.has_head(), rates.head());
    check_rate("optimizer.rates.vectors", rates.has_vectors(), rates.vectors());
    std::set<std::string> seen;
    for (const std::string& group : o.decay_exempt()) {
      require(group == "norms" || group == "biases" || group == "embeddings" || group == "head",
              "optimizer.decay_exempt",
              absl::StrCat("\"", group, "\" is not accepted; any of norms, biases, embeddings, head"));
      require(seen.insert(group).second, "optimizer.decay_exempt", absl::StrCat(group, " is given twice"));
    }
    require(seen.empty() || o.weight_decay() > 0, "optimizer.decay_exempt",
            "contradicts optimizer.weight_decay 0, with which nothing decays; a decay above 0, or an empty list");
  }

  // A key that the rule does not know is refused where its value says something: the defaults of other rules' keys
  // may stand in a job file that spells out all of them.
  void check_rule() {
    const v1::Optimizer& o = job_.optimizer();
    if (o.rule() == v1::Optimizer::RULE_UNSPECIFIED) return;
    const std::string rule = enum_word(*v1::Optimizer::Rule_descriptor()->FindValueByNumber(o.rule()));
    const bool muon = o.rule() == v1::Optimizer::RULE_MUON || o.rule() == v1::Optimizer::RULE_MUON8BIT;
    const bool sgd = o.rule() == v1::Optimizer::RULE_SGD;
    const bool scale = o.rule() == v1::Optimizer::RULE_SCALE;
    const bool adam = !sgd && o.rule() != v1::Optimizer::RULE_ADAFACTOR;
    auto belongs = [&](bool known, bool default_value, absl::string_view key, double value, absl::string_view to) {
      require(known || default_value, key,
              absl::StrCat(value, " contradicts optimizer.rule: ", rule, "; it belongs to ", to));
    };
    belongs(!sgd, !o.has_beta1(), "optimizer.beta1", o.beta1(), "any but sgd");
    belongs(adam, o.beta2() == kDefaultBeta2, "optimizer.beta2", o.beta2(), "any but adafactor and sgd");
    belongs(sgd || muon || scale, !o.has_momentum() || o.momentum() == kDefaultMomentum, "optimizer.momentum",
            o.momentum(), "sgd, muon, muon8bit or scale");
    belongs(!sgd, !o.has_epsilon(), "optimizer.epsilon", o.epsilon(), "any but sgd");
    require(adam || !o.has_epsilon_form(), "optimizer.epsilon_form",
            absl::StrCat(o.epsilon_form() == v1::Optimizer::EPSILON_FORM_CORRECTED ? "corrected" : "uncorrected",
                         " contradicts optimizer.rule: ", rule, "; it belongs to any but adafactor and sgd"));
    check_muon(muon, rule);
    check_projection(rule);
    check_state_type(rule);
    belongs(o.rule() == v1::Optimizer::RULE_ADAM8BIT || o.rule() == v1::Optimizer::RULE_MUON8BIT,
            o.block_size() == kDefaultBlockSize, "optimizer.block_size", o.block_size(), "adam8bit or muon8bit");
  }

  void check_state_type(const std::string& rule) {
    const v1::Optimizer& o = job_.optimizer();
    if (o.state_type() == v1::Optimizer::STATE_TYPE_UNSPECIFIED) return;
    const bool flash = o.state_type() == v1::Optimizer::STATE_TYPE_FLASH;
    const bool muon = o.rule() == v1::Optimizer::RULE_MUON;
    require(
        o.rule() == v1::Optimizer::RULE_ADAMW || muon, "optimizer.state_type",
        absl::StrCat(flash ? "flash" : "fp32", " contradicts optimizer.rule: ", rule, "; it belongs to adamw or muon"));
    if (!flash) return;
    // A slower decay than this is less than half the distance of two scales, which then never fall.
    require_number(o.beta2() <= kDefaultBeta2, "optimizer.beta2", o.beta2(),
                   "0.999 or less with optimizer.state_type: flash, whose scales do not follow a slower decay");
    require_number(o.beta1() <= kDefaultBeta2, "optimizer.beta1", o.beta1(),
                   "0.999 or less with optimizer.state_type: flash, whose scales do not follow a slower decay");
    require_number(!muon || o.momentum() <= kDefaultBeta2, "optimizer.momentum", o.momentum(),
                   "0.999 or less with optimizer.state_type: flash, whose scales do not follow a slower decay");
  }

  void check_muon(bool muon, const std::string& rule) {
    const v1::Optimizer& o = job_.optimizer();
    const v1::Muon& m = o.muon();
    const bool given = m.has_iteration() || m.has_steps() || m.has_nesterov() || m.has_split_heads();
    require(muon || !given, "optimizer.muon",
            absl::StrCat("contradicts optimizer.rule: ", rule, "; it belongs to muon or muon8bit"));
    if (!muon) return;
    if (m.has_steps())
      require_number(m.steps() >= 1 && m.steps() <= 20, "optimizer.muon.steps", m.steps(), "from 1 to 20, or null");
    require(!o.has_lora(), "optimizer.rule",
            absl::StrCat(rule, " contradicts optimizer.lora, whose adapters are no matrices of their own; adamw"));
    require(!(m.split_heads() && o.has_galore() && o.galore().side() == v1::Galore::SIDE_FULL),
            "optimizer.muon.split_heads",
            "contradicts optimizer.galore.side: full, which mixes the rows of heads; another side");
  }

  // Rules that look at the whole gradient.
  void check_projection(const std::string& rule) {
    const v1::Optimizer& o = job_.optimizer();
    const v1::Projection& p = o.projection();
    const bool apollo = o.rule() == v1::Optimizer::RULE_APOLLO;
    const bool mini = o.rule() == v1::Optimizer::RULE_APOLLO_MINI;
    const bool fira = o.rule() == v1::Optimizer::RULE_FIRA;
    const bool projects = apollo || mini || fira;
    const bool given =
        p.has_rank() || p.has_refresh_interval() || p.has_scale() || p.has_growth_limit() || p.has_residual();
    require(projects || !given, "optimizer.projection",
            absl::StrCat("contradicts optimizer.rule: ", rule, "; it belongs to apollo, apollo_mini or fira"));
    if (!projects && o.rule() != v1::Optimizer::RULE_SCALE) return;
    const std::string whole = absl::StrCat("contradicts optimizer.rule: ", rule, ", which looks at the whole gradient");
    require(!o.has_galore(), "optimizer.galore", absl::StrCat(whole, "; null"));
    require(!o.has_lora(), "optimizer.lora", absl::StrCat(whole, "; null"));
    if (!projects) return;
    require(mini || p.has_rank(), "optimizer.projection.rank",
            absl::StrCat("is required with optimizer.rule: ", rule, "; 1 or more"));
    if (p.has_rank()) {
      require_number(mini ? p.rank() == 1 : p.rank() >= 1, "optimizer.projection.rank", p.rank(),
                     mini ? "1 with optimizer.rule: apollo_mini, or null" : "1 or more");
    }
    if (p.has_refresh_interval()) {
      require_number(p.refresh_interval() >= 1, "optimizer.projection.refresh_interval", p.refresh_interval(),
                     "1 or more, or null");
    }
    if (p.has_scale()) require_positive("optimizer.projection.scale", p.scale());
    if (p.has_growth_limit()) {
      require_number(std::isfinite(p.growth_limit()) && p.growth_limit() >= 1, "optimizer.projection.growth_limit",
                     p.growth_limit(), "1 or more, or null");
    }
    require(fira || !p.has_residual(), "optimizer.projection.residual",
            absl::StrCat("contradicts optimizer.rule: ", rule, "; it belongs to fira"));
  }

  void check_schedule() {
    const v1::Schedule& s = job_.optimizer().schedule();
    require_enum(s.type() != v1::Schedule::TYPE_UNSPECIFIED, "optimizer.schedule.type");
    if (s.has_min_ratio()) require_range("optimizer.schedule.min_ratio", s.min_ratio(), 0, 1, false);
    if (s.has_steps()) require_number(s.steps() >= 1, "optimizer.schedule.steps", s.steps(), "1 or more, or null");
    require(!(s.has_steps() && s.has_warmup_steps() && s.warmup_steps() > s.steps()), "optimizer.schedule.warmup_steps",
            absl::StrCat(s.warmup_steps(), " is more than optimizer.schedule.steps (", s.steps(), "); at most ",
                         s.steps()));
    const bool wsd = s.type() == v1::Schedule::TYPE_WSD;
    require(wsd || !s.has_decay_steps(), "optimizer.schedule.decay_steps",
            "contradicts optimizer.schedule.type; it belongs to wsd");
    require(wsd || !s.has_decay(), "optimizer.schedule.decay",
            "contradicts optimizer.schedule.type; it belongs to wsd");
    if (!wsd || !s.has_decay_steps()) return;
    require_number(s.decay_steps() >= 1, "optimizer.schedule.decay_steps", s.decay_steps(), "1 or more, or null");
    require(!(s.has_steps() && s.has_warmup_steps() && s.warmup_steps() <= s.steps() &&
              s.decay_steps() > s.steps() - s.warmup_steps()),
            "optimizer.schedule.decay_steps",
            absl::StrCat(s.decay_steps(), " are more than what optimizer.schedule.warmup_steps (", s.warmup_steps(),
                         ") leaves of optimizer.schedule.steps (", s.steps(), ")"));
  }

  void check_targets(absl::string_view key, const google::protobuf::RepeatedPtrField<std::string>& targets) {
    std::set<std::string> seen;
    for (const std::string& target : targets) {
      require(target == "attention" || target == "mlp", key,
              absl::StrCat("\"", target, "\" is not accepted; any of attention, mlp"));
      require(seen.insert(target).second, key, absl::StrCat(target, " is given twice"));
    }
    require(!targets.empty(), key, "is empty; any of attention, mlp");
  }

  void check_low_rank() {
    const v1::Optimizer& o = job_.optimizer();
    require(!(o.has_galore() && o.has_lora()), "optimizer.galore",
            "contradicts optimizer.lora; one of the two must be null");
    if (o.has_galore()) {
      const v1::Galore& g = o.galore();
      require_number(g.rank() >= 1, "optimizer.galore.rank", g.rank(), "1 or more");
      require_number(g.refresh_interval() >= 1, "optimizer.galore.refresh_interval", g.refresh_interval(), "1 or more");
      require_positive("optimizer.galore.scale", g.scale());
      check_targets("optimizer.galore.targets", g.targets());
      if (g.has_lazy_threshold()) {
        require_number(g.lazy_threshold() > 0 && g.lazy_threshold() <= 1, "optimizer.galore.lazy_threshold",
                       g.lazy_threshold(), "above 0 and at most 1, or null");
      }
      const bool random = g.refresh() == v1::Galore::REFRESH_RANDOM;
      require(!(random && g.has_lazy_threshold()), "optimizer.galore.lazy_threshold",
              "contradicts optimizer.galore.refresh: random, whose bases follow no gradient; null, or another refresh");
      require(
          !(random && g.has_first_basis()), "optimizer.galore.first_basis",
          "contradicts optimizer.galore.refresh: random, whose first basis is random too; null, or another refresh");
      require(!(g.refresh() == v1::Galore::REFRESH_EXACT && g.first_basis() == v1::Galore::FIRST_BASIS_ITERATED),
              "optimizer.galore.first_basis",
              "iterated contradicts optimizer.galore.refresh: exact; exact, or refresh: subspace");
    }
    if (o.has_lora()) {
      const v1::Lora& l = o.lora();
      require_number(l.rank() >= 1, "optimizer.lora.rank", l.rank(), "1 or more");
      require_positive("optimizer.lora.alpha", l.alpha());
      require_range("optimizer.lora.dropout", l.dropout(), 0, 1, true);
      check_targets("optimizer.lora.targets", l.targets());
    }
  }

  void check_training() {
    const v1::Training& t = job_.training();
    require(t.has_steps() || t.has_epochs(), "training.steps", "is required, or training.epochs");
    require(!(t.has_steps() && t.has_epochs()), "training.steps", "contradicts training.epochs; give one of the two");
    if (t.has_steps()) require_number(t.steps() >= 1, "training.steps", t.steps(), "1 or more");
    if (t.has_epochs()) require_positive("training.epochs", t.epochs());
    require_number(t.global_batch() >= 1 && t.global_batch() <= kLargestBatch, "training.global_batch",
                   t.global_batch(), absl::StrCat("from 1 to ", kLargestBatch));
    require_number(t.micro_batch() >= 1, "training.micro_batch", t.micro_batch(), "1 or more");
    const uint64_t tokens = uint64_t{t.micro_batch()} * job_.data().sequence_length();
    require(job_.data().sequence_length() > kLongestSequence || tokens <= kMostTokensAtOnce, "training.micro_batch",
            absl::StrCat(t.micro_batch(), " sequences of data.sequence_length ", job_.data().sequence_length(), " are ",
                         tokens, " tokens at once; at most ", kMostTokensAtOnce));
    if (t.has_kept_inputs()) {
      require_number(t.kept_inputs() >= 1, "training.kept_inputs", t.kept_inputs(), "1 or more, or null");
      require(t.recompute() == v1::Training::RECOMPUTE_BLOCK, "training.kept_inputs",
              "needs training.recompute: block; without it every activation is kept");
    }
    if (t.has_z_loss()) {
      require_positive("training.z_loss", t.z_loss());
      require(job_.task() != v1::TASK_CLASSIFY, "training.z_loss",
              "contradicts task: classify, whose outputs are no vocabulary; null");
    }
    require_number(t.log_every() >= 1, "training.log_every", t.log_every(), "1 or more");
    if (t.has_evaluate_tokens()) {
      require_number(t.evaluate_tokens() >= 1, "training.evaluate_tokens", t.evaluate_tokens(), "1 or more, or null");
    }
    require(!(t.precision() == v1::PRECISION_FP32 && t.accumulate_type() == v1::PRECISION_BF16),
            "training.accumulate_type",
            "bf16 contradicts training.precision: fp32; accumulate_type: fp32 or precision: bf16");
    const bool fp24 = t.master_weights() == v1::Training::MASTER_WEIGHTS_FP24;
    const bool has_master = fp24 || t.master_weights() == v1::Training::MASTER_WEIGHTS_FP32;
    require(!(t.precision() == v1::PRECISION_FP32 && has_master), "training.master_weights",
            absl::StrCat(fp24 ? "fp24" : "fp32",
                         " contradicts training.precision: fp32, whose weights are fp32 already; none"));
    check_batches();
  }

  void check_batches() {
    const uint64_t ranks = job_.parallel().ranks();
    const uint64_t global = job_.training().global_batch();
    const uint64_t micro = job_.training().micro_batch();
    if (ranks < 1 || ranks > kMaxRanks || global < 1 || micro < 1) return;
    const uint64_t pass = micro * ranks;
    if (global % pass == 0) return;
    const uint64_t below = global / pass * pass;
    issues_.push_back({"training.global_batch",
                       absl::StrCat(global, " is not a multiple of training.micro_batch × parallel.ranks = ", micro,
                                    " × ", ranks, "; ", below > 0 ? absl::StrCat(below, " or ") : "", below + pass)});
  }

  void check_rest() {
    const v1::Parallel& p = job_.parallel();
    require_number(p.ranks() >= 1 && p.ranks() <= kMaxRanks, "parallel.ranks", p.ranks(),
                   absl::StrCat("from 1 to ", kMaxRanks));
    require_number(p.zero() >= 1 && p.zero() <= 3, "parallel.zero", p.zero(), "1, 2 or 3");
    require(!p.has_hang_timeout() || p.hang_timeout() >= 1, "parallel.hang_timeout",
            "0 is not accepted; a duration such as 10m");
    if (job_.resources().has_memory_per_rank()) {
      require(job_.resources().memory_per_rank() > 0, "resources.memory_per_rank",
              "0 is not accepted; a limit such as 24GiB, or null");
    }
    const v1::Checkpoint& c = job_.checkpoint();
    require(!c.directory().empty(), "checkpoint.directory", "is empty; a folder is accepted");
    const std::filesystem::path directory(c.directory());
    require(directory.is_absolute() || std::find(directory.begin(), directory.end(), "..") == directory.end(),
            "checkpoint.directory", "leads out of the job's own folder; a folder below it, or an absolute path");
    require_number(c.every() >= 1, "checkpoint.every", c.every(), "1 or more");
    require_number(c.keep() >= 1, "checkpoint.keep", c.keep(), "1 or more");
    require(!c.resume().empty(), "checkpoint.resume", "is empty; auto, never or a step's folder");
    check_place("checkpoint.resume", c.resume());
    require(!c.has_copy_to() || is_address(c.copy_to()), "checkpoint.copy_to",
            "is no address in an object store, such as s3://BUCKET/PATH; checkpoint.directory names a folder");
    check_place("checkpoint.copy_to", c.copy_to());
    check_tracking();
    const v1::Scheduling& s = job_.scheduling();
    require(!s.queue().empty(), "scheduling.queue", "is empty; the name of a queue is accepted");
    require(!s.has_time_limit() || s.time_limit() >= 1, "scheduling.time_limit",
            "0 is not accepted; a duration such as 12h, or null");
    require(!s.has_queue_timeout() || s.queue_timeout() >= 1, "scheduling.queue_timeout",
            "0 is not accepted; a duration such as 2d, or null");
    for (int i = 0; i < s.after_size(); ++i) check_after(absl::StrCat("scheduling.after[", i, "]"), s.after(i));
  }

  void check_after(absl::string_view key, absl::string_view entry) {
    const size_t colon = entry.find(':');
    const absl::string_view word = colon == absl::string_view::npos ? "" : entry.substr(0, colon);
    const bool known = colon == absl::string_view::npos || word == "any" || word == "failed";
    require(known, key, absl::StrCat("\"", word, ":\" is not accepted; JOB, any:JOB or failed:JOB"));
    require(!known || !entry.substr(colon == absl::string_view::npos ? 0 : colon + 1).empty(), key,
            "names no job; the id of a job is accepted, alone or behind any: or failed:");
  }

  void check_tracking() {
    if (!job_.has_tracking()) return;
    const v1::Tracking& t = job_.tracking();
    require(tracking_address(t.mlflow()).ok(), "tracking.mlflow", tracking_address(t.mlflow()).status().message());
    require(!t.experiment().empty(), "tracking.experiment", "is empty; the name of an experiment is accepted");
    require(!t.has_run_name() || !t.run_name().empty(), "tracking.run_name", "is empty; a name, or null");
  }

  const v1::Job& job_;
  JobIssues& issues_;
};

}  // namespace

void find_contradictions(const v1::Job& job, JobIssues& issues) {
  Rules(job, issues).check();
}

}  // namespace galleon
