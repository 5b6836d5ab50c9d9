#include "worker/engine/run/options_from_job.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/object_address.h"
#include "worker/engine/run/hyperparameters.h"

namespace galleon {

namespace {

ScheduleType schedule_type(v1::Schedule::Type type) {
  switch (type) {
    case v1::Schedule::TYPE_LINEAR:
      return ScheduleType::kLinear;
    case v1::Schedule::TYPE_CONSTANT:
      return ScheduleType::kConstant;
    case v1::Schedule::TYPE_WSD:
      return ScheduleType::kWsd;
    default:
      return ScheduleType::kCosine;
  }
}

ProjectionSide projection_side(v1::Galore::Side side) {
  switch (side) {
    case v1::Galore::SIDE_REVERSE_STD:
      return ProjectionSide::kReverseStd;
    case v1::Galore::SIDE_LEFT:
      return ProjectionSide::kLeft;
    case v1::Galore::SIDE_RIGHT:
      return ProjectionSide::kRight;
    case v1::Galore::SIDE_FULL:
      return ProjectionSide::kFull;
    default:
      return ProjectionSide::kStd;
  }
}

RefreshMethod refresh_method(v1::Galore::Refresh refresh) {
  switch (refresh) {
    case v1::Galore::REFRESH_EXACT:
      return RefreshMethod::kExact;
    case v1::Galore::REFRESH_RANDOM:
      return RefreshMethod::kRandom;
    default:
      return RefreshMethod::kSubspace;
  }
}

BasisType basis_type(v1::Galore::BasisType type) {
  switch (type) {
    case v1::Galore::BASIS_TYPE_BF16:
      return BasisType::kBf16;
    case v1::Galore::BASIS_TYPE_INT8:
      return BasisType::kInt8;
    case v1::Galore::BASIS_TYPE_INT4:
      return BasisType::kInt4;
    default:
      return BasisType::kFp32;
  }
}

MomentsAtRefresh moments_at_refresh(v1::Galore::MomentsAtRefresh moments) {
  switch (moments) {
    case v1::Galore::MOMENTS_AT_REFRESH_ROTATE:
      return MomentsAtRefresh::kRotate;
    case v1::Galore::MOMENTS_AT_REFRESH_RESET:
      return MomentsAtRefresh::kReset;
    default:
      return MomentsAtRefresh::kKeep;
  }
}

GaloreOptions galore_options(const v1::Galore& galore, uint64_t seed) {
  GaloreOptions o;
  o.rank = galore.rank();
  o.refresh_interval = galore.refresh_interval();
  o.refresh = refresh_method(galore.refresh());
  o.exact_first_basis = galore.first_basis() == v1::Galore::FIRST_BASIS_EXACT;
  o.stagger = galore.stagger() == v1::Galore::STAGGER_TRUE ||
              (galore.stagger() != v1::Galore::STAGGER_FALSE && o.refresh == RefreshMethod::kSubspace);
  o.scale = galore.scale();
  o.side = projection_side(galore.side());
  o.basis_type = basis_type(galore.basis_type());
  const auto has = [&](const char* target) {
    return std::count(galore.targets().begin(), galore.targets().end(), target) > 0;
  };
  o.target_attention = has("attention");
  o.target_mlp = has("mlp");
  o.moments = moments_at_refresh(galore.moments_at_refresh());
  if (galore.has_lazy_threshold()) o.lazy_threshold = galore.lazy_threshold();
  o.seed = seed;
  return o;
}

// Of the GaLore paper's baseline the embedding, head and norms are trained at full rank (its memory table counts their
// moments); fine-tuning trains adapters alone, as the package peft does by default.
LoraOptions lora_options(const v1::Lora& lora, uint64_t seed, v1::Task task) {
  LoraOptions o;
  o.rank = lora.rank();
  o.alpha = lora.alpha();
  o.dropout = lora.dropout();
  const auto has = [&](const char* target) {
    return std::count(lora.targets().begin(), lora.targets().end(), target) > 0;
  };
  o.target_attention = has("attention");
  o.target_mlp = has("mlp");
  o.train_rest = task == v1::TASK_PRETRAIN;
  o.seed = seed;
  return o;
}

MomentRule moment_rule(v1::Optimizer::Rule rule) {
  switch (rule) {
    case v1::Optimizer::RULE_ADAM8BIT:
      return MomentRule::kAdam8bit;
    case v1::Optimizer::RULE_ADAFACTOR:
      return MomentRule::kAdafactor;
    case v1::Optimizer::RULE_SGD:
      return MomentRule::kSgd;
    case v1::Optimizer::RULE_MUON:
      return MomentRule::kMuon;
    case v1::Optimizer::RULE_MUON8BIT:
      return MomentRule::kMuon8bit;
    case v1::Optimizer::RULE_SCALE:
      return MomentRule::kScale;
    case v1::Optimizer::RULE_APOLLO:
      return MomentRule::kApollo;
    case v1::Optimizer::RULE_APOLLO_MINI:
      return MomentRule::kApolloMini;
    case v1::Optimizer::RULE_FIRA:
      return MomentRule::kFira;
    default:
      return MomentRule::kAdamW;
  }
}

MasterWeights master_weights(v1::Training::MasterWeights master) {
  switch (master) {
    case v1::Training::MASTER_WEIGHTS_FP32:
      return MasterWeights::kFp32;
    case v1::Training::MASTER_WEIGHTS_FP24:
      return MasterWeights::kFp24;
    default:
      return MasterWeights::kNone;
  }
}

double default_epsilon(MomentRule rule) {
  switch (rule) {
    case MomentRule::kAdam8bit:
    case MomentRule::kMuon8bit:
      return 1e-8;
    case MomentRule::kAdafactor:
      return 1e-30;
    default:
      return 1e-6;
  }
}

MuonOptions muon_options(const v1::Muon& muon) {
  MuonOptions o;
  if (muon.iteration() == v1::Muon::ITERATION_POLAR_EXPRESS) o.iteration = MuonIteration::kPolarExpress;
  if (muon.has_steps()) o.steps = muon.steps();
  if (muon.has_nesterov()) o.nesterov = muon.nesterov();
  o.split_heads = muon.split_heads();
  return o;
}

ProjectionOptions projection_options(const v1::Projection& projection, MomentRule rule, uint64_t seed) {
  ProjectionOptions o;
  if (projection.has_rank()) o.rank = projection.rank();
  if (projection.has_refresh_interval()) o.refresh_interval = projection.refresh_interval();
  o.scale = rule == MomentRule::kApolloMini ? 128 : rule == MomentRule::kFira ? 0.25 : 1;
  if (projection.has_scale()) o.scale = projection.scale();
  if (projection.has_growth_limit()) o.growth_limit = projection.growth_limit();
  if (projection.residual() == v1::Projection::RESIDUAL_SCALED) o.residual = Residual::kScaled;
  o.seed = seed;
  return o;
}

void set_groups(const v1::Optimizer& optimizer, OptimizerOptions& o) {
  const auto exempt = [&](const char* group) {
    return std::count(optimizer.decay_exempt().begin(), optimizer.decay_exempt().end(), group) > 0;
  };
  const v1::Rates& rates = optimizer.rates();
  const double vectors = rates.has_vectors() ? rates.vectors() : 1.0;
  o.embeddings = {rates.has_embedding() ? rates.embedding() : 1.0, !exempt("embeddings")};
  o.head = {rates.has_head() ? rates.head() : 1.0, !exempt("head")};
  o.norms = {vectors, !exempt("norms")};
  o.biases = {vectors, !exempt("biases")};
}

OptimizerOptions optimizer_options(const v1::Optimizer& optimizer, uint64_t seed, v1::Task task) {
  OptimizerOptions o;
  o.learning_rate = optimizer.learning_rate();
  // A message that did not come through the job file's reader may lack what that derives.
  o.rule = moment_rule(optimizer.rule());
  const bool muon = o.rule == MomentRule::kMuon || o.rule == MomentRule::kMuon8bit;
  const bool adam = o.rule != MomentRule::kAdafactor && o.rule != MomentRule::kSgd;
  o.beta1 = optimizer.has_beta1() ? optimizer.beta1() : (adam ? 0.9 : 0.0);
  o.beta2 = optimizer.beta2();
  o.epsilon = optimizer.has_epsilon() ? optimizer.epsilon() : default_epsilon(o.rule);
  if (optimizer.has_epsilon_form()) {
    o.epsilon_form = optimizer.epsilon_form() == v1::Optimizer::EPSILON_FORM_CORRECTED ? EpsilonForm::kCorrected
                                                                                       : EpsilonForm::kUncorrected;
  }
  o.momentum = optimizer.has_momentum() ? optimizer.momentum() : (muon ? 0.95 : 0.9);
  o.muon = muon_options(optimizer.muon());
  o.projection = projection_options(optimizer.projection(), o.rule, seed);
  if (optimizer.state_type() == v1::Optimizer::STATE_TYPE_FLASH) o.state_type = StateType::kFlash;
  o.block_size = optimizer.block_size();
  o.weight_decay = optimizer.weight_decay();
  set_groups(optimizer, o);
  o.clip_norm = optimizer.clip_norm();
  o.clip_dense = optimizer.clip_space() == v1::Optimizer::CLIP_SPACE_DENSE;
  o.rounding_seed = seed;
  o.per_layer = optimizer.update() == v1::Optimizer::UPDATE_PER_LAYER;
  o.schedule.type = schedule_type(optimizer.schedule().type());
  const bool to_zero = o.schedule.type == ScheduleType::kLinear || o.schedule.type == ScheduleType::kWsd;
  o.schedule.min_ratio =
      optimizer.schedule().has_min_ratio() ? optimizer.schedule().min_ratio() : (to_zero ? 0.0 : 0.1);
  if (optimizer.schedule().decay() == v1::Schedule::DECAY_SQRT) o.schedule.decay = ScheduleDecay::kSqrt;
  if (optimizer.has_galore()) o.galore = galore_options(optimizer.galore(), seed);
  if (muon && o.galore && !optimizer.galore().has_moments_at_refresh()) o.galore->moments = MomentsAtRefresh::kRotate;
  if (optimizer.has_lora()) o.lora = lora_options(optimizer.lora(), seed, task);
  return o;
}

std::string format_name(v1::Data::Format format) {
  switch (format) {
    case v1::Data::FORMAT_TEXT:
      return "text";
    case v1::Data::FORMAT_JSONL:
      return "jsonl";
    case v1::Data::FORMAT_TOKENS:
      return "tokens";
    case v1::Data::FORMAT_TSV:
      return "tsv";
    case v1::Data::FORMAT_CSV:
      return "csv";
    case v1::Data::FORMAT_CHAT:
      return "chat";
    default:
      return "auto";
  }
}

LastBatch last_batch(v1::Data::LastBatch last) {
  if (last == v1::Data::LAST_BATCH_SHORT) return LastBatch::kShort;
  return last == v1::Data::LAST_BATCH_DROP ? LastBatch::kDrop : LastBatch::kWrap;
}

std::string glue_task_name(v1::Data::GlueTask task) {
  if (task == v1::Data::GLUE_TASK_UNSPECIFIED) return "";
  return absl::AsciiStrToLower(absl::StripPrefix(v1::Data::GlueTask_Name(task), "GLUE_TASK_"));
}

// Appends "path: value" for every set field below `message` that the computation depends on; with `all` also for the
// others, paths left out.
void append_keys(const google::protobuf::Message& message, bool all, const std::string& prefix, std::string& out) {
  static const auto* kElsewhere = new std::set<std::string>{"name",
                                                            "training.steps",
                                                            "training.epochs",
                                                            "optimizer.schedule.steps",
                                                            "optimizer.schedule.warmup_steps",
                                                            "optimizer.schedule.decay_steps"};
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const auto* field = message.GetDescriptor()->field(i);
    const v1::KeyOptions& key = field->options().GetExtension(v1::key);
    const std::string path = prefix + field->name();
    if (key.path() || (!all && (key.operational() || kElsewhere->count(path) > 0))) continue;
    if (field->is_map() || field->is_repeated()) {
      std::string values;
      std::set<std::string> sorted;
      for (int n = 0; n < reflection->FieldSize(message, field); ++n) {
        if (field->is_map()) {
          sorted.insert(reflection->GetRepeatedMessage(message, field, n).ShortDebugString());
        } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
          sorted.insert(reflection->GetRepeatedString(message, field, n));
        } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE) {
          // Numbers belong to places in another list.
          absl::StrAppend(&values, n == 0 ? "" : ", ", reflection->GetRepeatedDouble(message, field, n));
        }
      }
      for (const std::string& value : sorted) absl::StrAppend(&values, values.empty() ? "" : ", ", value);
      if (!values.empty()) absl::StrAppend(&out, path, ": ", values, "\n");
      continue;
    }
    if (!reflection->HasField(message, field)) continue;
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
      append_keys(reflection->GetMessage(message, field), all, path + ".", out);
      continue;
    }
    std::string value;
    google::protobuf::TextFormat::PrintFieldValueToString(message, field, -1, &value);
    absl::StrAppend(&out, path, ": ", value, "\n");
  }
}

}  // namespace

std::string mathematics_of(const v1::Job& job) {
  std::string text;
  append_keys(job, false, "", text);
  if (const LastBatch last = last_batch(job.data().last_batch()); last != LastBatch::kWrap)
    absl::StrAppend(&text, "data.last_batch: ", last == LastBatch::kShort ? "short" : "drop", "\n");
  return text;
}

std::string job_lines(const v1::Job& job) {
  std::string text;
  append_keys(job, true, "", text);
  return text;
}

RunOptions options_from_job(const v1::Job& job, const std::string& output) {
  RunOptions o;
  o.name = job.name();
  o.model.source = job.model().source();
  o.model.pretrained = job.model().init() == v1::Model::INIT_PRETRAINED;
  o.model.overrides.assign(job.model().overrides().begin(), job.model().overrides().end());
  std::sort(o.model.overrides.begin(), o.model.overrides.end());
  o.model.seed = job.model().seed();
  o.tokenizer = job.tokenizer();
  o.data.train.assign(job.data().train().begin(), job.data().train().end());
  o.data.train_weights.assign(job.data().train_weights().begin(), job.data().train_weights().end());
  o.data.validation.assign(job.data().validation().begin(), job.data().validation().end());
  o.data.format = format_name(job.data().format());
  o.data.text_field = job.data().text_field();
  if (job.data().has_begin_token()) o.data.begin_token = job.data().begin_token();
  if (job.data().has_end_token()) o.data.end_token = job.data().end_token();
  o.data.chat_template = job.data().chat_template();
  o.data.template_date = job.data().template_date();
  o.data.classify = job.task() == v1::TASK_CLASSIFY;
  o.data.glue_task = glue_task_name(job.data().glue_task());
  if (job.data().columns().text_size() > 0)
    o.data.text_columns.assign(job.data().columns().text().begin(), job.data().columns().text().end());
  if (job.data().columns().has_label()) o.data.label_column = job.data().columns().label();
  o.data.sequence_length = job.data().sequence_length();
  o.data.packing = !job.data().has_packing() || job.data().packing();
  o.data.shuffle = job.data().shuffle();
  o.data.seed = job.data().seed();
  o.data.skip_bad_rows = job.data().bad_rows() == v1::Data::BAD_ROWS_SKIP;
  if (job.data().has_max_bad_rows()) o.data.max_bad_rows = static_cast<int64_t>(job.data().max_bad_rows());
  o.last_batch = last_batch(job.data().last_batch());
  const bool bf16 = job.training().precision() == v1::PRECISION_BF16;
  o.optimizer = optimizer_options(job.optimizer(), job.model().seed(), job.task());
  o.optimizer.zero = static_cast<int>(std::max(1U, job.parallel().zero()));
  if (job.parallel().hang_timeout() > 0) o.hang_timeout = static_cast<int64_t>(job.parallel().hang_timeout());
  const auto wire = job.parallel().wire_type();
  const bool bf16_wire = wire == v1::Parallel::WIRE_TYPE_BF16 || (wire != v1::Parallel::WIRE_TYPE_FP32 && bf16);
  if (bf16_wire) o.optimizer.wire_type = DataType::kBFloat16;
  if (job.training().accumulate_type() == v1::PRECISION_BF16) o.optimizer.accumulate_type = DataType::kBFloat16;
  o.steps = static_cast<int64_t>(job.training().steps());
  o.epochs = job.training().epochs();
  const v1::Schedule& schedule = job.optimizer().schedule();
  if (schedule.has_steps()) o.schedule_steps = static_cast<int64_t>(schedule.steps());
  if (schedule.has_warmup_steps()) o.warmup_steps = static_cast<int64_t>(schedule.warmup_steps());
  if (schedule.has_decay_steps()) o.decay_steps = static_cast<int64_t>(schedule.decay_steps());
  o.global_batch = job.training().global_batch();
  o.micro_batch = job.training().micro_batch();
  if (bf16) o.weights.type = DataType::kBFloat16;
  o.weights.master = master_weights(job.training().master_weights());
  o.recompute = job.training().recompute() == v1::Training::RECOMPUTE_BLOCK;
  o.kept_inputs = job.training().kept_inputs();
  o.z_loss = job.training().z_loss();
  o.log_every = std::max<int64_t>(1, job.training().log_every());
  o.evaluate_every = job.training().evaluate_every();
  o.evaluate_tokens = static_cast<int64_t>(job.training().evaluate_tokens());
  const std::filesystem::path directory(job.checkpoint().directory());
  o.checkpoint_folder = directory.is_absolute()
                            ? directory.string()
                            : (std::filesystem::path(output) / directory).lexically_normal().string();
  o.checkpoint_every = job.checkpoint().every();
  o.checkpoint_keep = job.checkpoint().keep();
  o.checkpoint_copy_to = job.checkpoint().copy_to();
  o.resume = job.checkpoint().resume();
  if (o.resume != "auto" && o.resume != "never" && !is_address(o.resume) &&
      !std::filesystem::path(o.resume).is_absolute()) {
    o.resume = (std::filesystem::path(output) / o.resume).lexically_normal().string();
  }
  o.tensorboard = job.output().tensorboard();
  if (job.has_tracking()) {
    o.tracking = {job.tracking().mlflow(), job.tracking().experiment(),
                  job.tracking().run_name().empty() ? job.name() : job.tracking().run_name()};
  }
  o.hyperparameters = hyperparameters_of(job);
  o.memory_limit = static_cast<int64_t>(job.resources().memory_per_rank());
  o.resume_with_changed_data = job.checkpoint().resume_with_changed_data();
  o.mathematics = mathematics_of(job);
  return o;
}

}  // namespace galleon
