// What the engine is told, as plain structs. `options_from_job.h` is the one place that knows the Job message.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/data_type.h"

namespace galleon {

enum class ScheduleType { kCosine, kLinear, kConstant, kWsd };
enum class ScheduleDecay { kLinear, kSqrt };

struct ScheduleOptions {
  ScheduleType type = ScheduleType::kCosine;
  int64_t warmup_steps = 0;
  double min_ratio = 0.1;
  int64_t steps = 0;  // length of the curve
  // Of kWsd: its last steps, and how the rate falls in them.
  int64_t decay_steps = 0;
  ScheduleDecay decay = ScheduleDecay::kLinear;
};

enum class MomentRule { kAdamW, kAdam8bit, kAdafactor, kSgd, kMuon, kMuon8bit, kScale, kApollo, kApolloMini, kFira };

// How moments of large matrices are kept: as the rule has them, in fp32 or in blocks of dynamic codes, or in groups of
// companded ones (kernels/math/companded8.h).
enum class StateType { kOfRule, kFlash };

// Where ε stands: beside √v as it is kept, or beside √(v / (1−β₂ᵗ)).
enum class EpsilonForm { kUncorrected, kCorrected };

enum class MuonIteration { kNewtonSchulz, kPolarExpress };

struct MuonOptions {
  MuonIteration iteration = MuonIteration::kNewtonSchulz;
  int64_t steps = 5;
  bool nesterov = true;
  bool split_heads = false;  // each head's rows of queries and keys for themselves
};

// What Fira takes from the gradient beside its update in the subspace: what was projected, or that times the scale, as
// its authors' program does.
enum class Residual { kProjected, kScaled };

// Of rules that keep moments of a projected gradient and move weights by the whole one.
struct ProjectionOptions {
  int64_t rank = 1;
  int64_t refresh_interval = 200;
  double scale = 1;
  double growth_limit = 1.01;
  Residual residual = Residual::kProjected;
  uint64_t seed = 42;
};

// Factors on the learning rate, and whether weights decay, by what a parameter is.
struct GroupOptions {
  double rate = 1;
  bool decays = true;
};

enum class RefreshMethod { kSubspace, kExact, kRandom };
enum class ProjectionSide { kStd, kReverseStd, kLeft, kRight, kFull };
enum class BasisType { kFp32, kBf16, kInt8, kInt4 };
enum class MomentsAtRefresh { kKeep, kRotate, kReset };

struct GaloreOptions {
  int64_t rank = 0;
  int64_t refresh_interval = 200;
  RefreshMethod refresh = RefreshMethod::kSubspace;
  bool exact_first_basis = false;  // with kSubspace: the first basis is the exact one
  bool stagger = true;
  double scale = 0.25;
  ProjectionSide side = ProjectionSide::kStd;
  BasisType basis_type = BasisType::kFp32;
  bool target_attention = true;
  bool target_mlp = true;
  MomentsAtRefresh moments = MomentsAtRefresh::kKeep;
  std::optional<double> lazy_threshold;  // of the overlap of successive bases; without: every refresh takes place
  uint64_t seed = 42;                    // of starting bases and of replaced columns
};

// Low-rank adapters (Hu et al. 2021): y = x·Wᵀ + alpha/rank·drop(x)·Aᵀ·Bᵀ with W frozen.
struct LoraOptions {
  int64_t rank = 0;
  double alpha = 16;
  double dropout = 0;
  bool target_attention = true;
  bool target_mlp = true;
  // Whether what has no adapter (embedding, head, norms) is trained at full rank; otherwise it is frozen too.
  bool train_rest = true;
  uint64_t seed = 42;  // of A and of the dropout's masks
  double scale() const { return alpha / static_cast<double>(rank); }
};

// How weights are kept: their type, and the master of a bf16 weight: an fp32 copy, or the eight bits behind it
// (kernels/math/split_weight.h). Without one its updates are rounded stochastically.
enum class MasterWeights { kNone, kFp32, kFp24 };

struct WeightStorage {
  DataType type = DataType::kFloat32;
  MasterWeights master = MasterWeights::kNone;
};

// What becomes of a matrix's gradient before the rule sees it; worker/engine/optim/method.h says what follows from it.
enum class GradientMethod { kFullRank, kGalore, kLora };

struct OptimizerOptions {
  MomentRule rule = MomentRule::kAdamW;
  StateType state_type = StateType::kOfRule;  // kFlash: with kAdamW and kMuon
  double learning_rate = 1e-3;
  double beta1 = 0.9;  // Adafactor: 0 is no first moment
  double beta2 = 0.999;
  double epsilon = 1e-6;
  std::optional<EpsilonForm> epsilon_form;  // without: the rule's own
  double momentum = 0.9;                    // SGD, Muon, the last layer of SCALE
  MuonOptions muon;
  ProjectionOptions projection;
  int64_t block_size = 256;  // of 8-bit moments
  double weight_decay = 0;
  // Everything else is a matrix of a block.
  GroupOptions embeddings, head, norms, biases;
  double clip_norm = 0;     // 0: off
  bool clip_dense = false;  // the norm of the dense gradient instead of the projected one
  bool per_layer = false;
  int zero = 1;  // what is sharded over ranks. 1: moments; 2: gradients too; 3: weights too
  DataType accumulate_type = DataType::kFloat32;  // of sums of gradients over micro-batches
  DataType wire_type = DataType::kFloat32;        // of gradients and updates between ranks
  // Of a gradient that is formed and used up in pieces: the largest piece.
  int64_t piece_bytes = 16LL << 20;
  uint64_t rounding_seed = 42;  // of the stochastic rounding of bf16 weights
  ScheduleOptions schedule;
  std::optional<GaloreOptions> galore;
  std::optional<LoraOptions> lora;  // not together with galore

  // As the job file's keys resolve to: what is projected is asked of it alone.
  GradientMethod method() const {
    if (galore.has_value()) return GradientMethod::kGalore;
    return lora.has_value() ? GradientMethod::kLora : GradientMethod::kFullRank;
  }
};

struct DataOptions {
  std::vector<std::string> train;       // globs
  std::vector<double> train_weights;    // of a mixture, one for each of `train`; or none
  std::vector<std::string> validation;  // globs
  std::string format = "auto";          // auto | text | jsonl | tokens | tsv | csv | chat
  std::string text_field = "text";
  std::string begin_token = "auto";  // before each document of text: auto | none | a token's text
  std::string end_token = "auto";    // behind it
  std::string chat_template;         // preset:NAME or a path; empty: that of the tokenizer's folder
  std::string template_date;         // that a chat template sees, as 2024-07-26; empty: that one
  bool classify = false;             // rows with labels
  std::string glue_task;             // empty: columns are
  std::vector<std::string> text_columns{"sentence"};
  std::string label_column = "label";
  bool skip_bad_rows = false;  // count rows that cannot be read, up to max_bad_rows, instead of ending
  int64_t max_bad_rows = 1000;
  int64_t sequence_length = 256;
  bool packing = true;  // documents joined by the end token; otherwise each is a sequence of its own
  bool shuffle = true;
  uint64_t seed = 42;
};

struct ModelOptions {
  std::string source;    // preset:NAME or a folder
  std::string given_as;  // the address that the folder is a copy of; empty: it is none
  // As the job names it.
  const std::string& name() const { return given_as.empty() ? source : given_as; }
  bool pretrained = false;
  std::vector<std::pair<std::string, std::string>> overrides;  // field of config.json, JSON text
  uint64_t seed = 42;
};

// A key of the job file and what it was set to, for those who compare runs.
using HyperparameterValue = std::variant<bool, double, std::string>;
using Hyperparameter = std::pair<std::string, HyperparameterValue>;

// What becomes of the batch in which an epoch ends.
enum class LastBatch { kWrap, kShort, kDrop };

// An MLflow server that is told of the run.
struct TrackingOptions {
  std::string mlflow;  // its address
  std::string experiment;
  std::string run_name;
};

struct RunOptions {
  std::string name;
  ModelOptions model;
  std::string tokenizer;  // a path, "bytes", or empty for token files
  DataOptions data;
  OptimizerOptions optimizer;
  int64_t steps = 0;  // 0: from epochs, when the data is known
  double epochs = 0;
  // What the job file said itself, before anything is derived from the data.
  std::optional<int64_t> schedule_steps;
  std::optional<int64_t> warmup_steps;
  std::optional<int64_t> decay_steps;
  int64_t global_batch = 0;
  int64_t micro_batch = 0;
  LastBatch last_batch = LastBatch::kWrap;
  bool resume_with_changed_data = false;
  bool recompute = false;
  int64_t kept_inputs = 0;  // with recompute: blocks whose input is kept; 0: all
  WeightStorage weights;
  double z_loss = 0;  // 0: none
  int64_t log_every = 10;
  int64_t evaluate_every = 0;   // 0: never
  int64_t evaluate_tokens = 0;  // 0: all
  std::string checkpoint_folder;
  int64_t checkpoint_every = 0;
  int64_t checkpoint_keep = 3;
  std::string checkpoint_copy_to;  // an address in an object store; empty: no copies
  std::string resume = "auto";
  bool tensorboard = false;
  std::optional<TrackingOptions> tracking;
  std::vector<Hyperparameter> hyperparameters;
  int64_t memory_limit = 0;
  int64_t hang_timeout = 600;  // seconds
  // Canonical text of everything that the computation depends on, one "key: value" a line. A checkpoint keeps it, and a
  // run that resumes must have the same.
  std::string mathematics;
};

}  // namespace galleon
