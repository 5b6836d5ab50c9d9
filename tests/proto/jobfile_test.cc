#include "proto/jobfile/jobfile.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "proto/jobfile/keys.h"
#include "tests/proto/parsed_jobs.h"

namespace galleon {
namespace {

TEST(JobFile, AbsentKeysTakeTheDefaultsOfTheContract) {
  const v1::Job job = parse_good(kMinimal);
  const std::string expected = R"(name: small
task: pretrain
model:
  source: "preset:llama-60m"
  init: random
  overrides: {}
  seed: 42
tokenizer: tokenizer.model
data:
  train: ["c4/*.json.gz"]
  validation: []
  format: auto
  text_field: text
  glue_task: null
  columns:
    text: [sentence]
    label: label
  sequence_length: 256
  packing: true
  shuffle: true
  seed: 42
  chat_template: null
  begin_token: auto
  end_token: auto
  template_date: null
  bad_rows: refuse
  max_bad_rows: 1000
  last_batch: wrap
optimizer:
  rule: adamw
  learning_rate: 0.001
  rates:
    embedding: null
    head: null
    vectors: null
  beta1: 0.9
  beta2: 0.999
  momentum: 0.9
  epsilon: 1e-06
  epsilon_form: null
  state_type: null
  block_size: 256
  weight_decay: 0
  decay_exempt: []
  clip_norm: 0
  clip_space: projected
  schedule:
    type: cosine
    warmup_steps: 1000
    min_ratio: 0.1
    steps: 10000
    decay_steps: null
    decay: null
  muon:
    iteration: null
    steps: null
    nesterov: null
    split_heads: null
  projection:
    rank: null
    refresh_interval: null
    scale: null
    growth_limit: null
    residual: null
  update: per_step
  galore: null
  lora: null
training:
  steps: 10000
  epochs: null
  global_batch: 512
  micro_batch: 16
  precision: fp32
  master_weights: none
  accumulate_type: fp32
  recompute: none
  kept_inputs: null
  z_loss: null
  log_every: 10
  evaluate_every: 1000
  evaluate_tokens: null
parallel:
  ranks: 1
  zero: 1
  wire_type: auto
  hang_timeout: 600
resources:
  device: auto
  memory_per_rank: null
checkpoint:
  directory: checkpoints
  every: 1000
  keep: 3
  resume: auto
  resume_with_changed_data: false
  copy_to: null
scheduling:
  queue: default
  priority: 0
  preemptible: true
  max_retries: 3
  time_limit: null
  after: []
  labels: {}
  queue_timeout: null
output:
  tensorboard: false
tracking: null
labels: {}
note: null
)";
  EXPECT_EQ(job_to_yaml(job), expected);
}

TEST(JobFile, GaloreTakesItsDefaultsOnceItHasARank) {
  const v1::Galore galore =
      parse_good(std::string(kMinimal) + "optimizer: {galore: {rank: 128}}\n").optimizer().galore();
  EXPECT_EQ(galore.rank(), 128u);
  EXPECT_EQ(galore.refresh_interval(), 200u);
  EXPECT_EQ(galore.refresh(), v1::Galore::REFRESH_SUBSPACE);
  EXPECT_EQ(galore.stagger(), v1::Galore::STAGGER_AUTO);
  EXPECT_EQ(galore.scale(), 0.25);
  EXPECT_EQ(galore.side(), v1::Galore::SIDE_STD);
  EXPECT_EQ(galore.basis_type(), v1::Galore::BASIS_TYPE_FP32);
  ASSERT_EQ(galore.targets_size(), 2);
  EXPECT_EQ(galore.targets(0), "attention");
  EXPECT_EQ(galore.targets(1), "mlp");
  EXPECT_FALSE(galore.has_lazy_threshold());
  EXPECT_EQ(galore.moments_at_refresh(), v1::Galore::MOMENTS_AT_REFRESH_KEEP);
}

// Every key of the contract with a value that is not its default and that this version has, as far as one rule of the
// optimizer knows them all.
constexpr char kEverything[] = R"(name: all-keys
task: finetune
model: {source: models/llama, init: random, overrides: {vocab_size: 512, rope_scaling: null, act: "silu", a: [1, 2.5, {b: true}]}, seed: 1}
tokenizer: bytes
data:
  train: [a/*.txt, /abs/b.txt]
  validation: [c.txt]
  format: text
  text_field: body
  glue_task: null
  columns: {text: [sentence], label: label}
  sequence_length: 128
  packing: true
  shuffle: false
  seed: 18446744073709551615
  chat_template: null
  begin_token: auto
  end_token: auto
  template_date: null
  bad_rows: refuse
  max_bad_rows: 1000
  last_batch: wrap
optimizer:
  rule: muon
  learning_rate: 1e-2
  rates: {embedding: 10, head: 5, vectors: 0.5}
  beta1: 0.8
  beta2: 0.95
  momentum: 0.9
  epsilon: 1e-8
  epsilon_form: corrected
  state_type: fp32
  block_size: 256
  weight_decay: 0.1
  decay_exempt: [norms, embeddings]
  clip_norm: 1
  clip_space: projected
  schedule: {type: wsd, warmup_steps: 5, min_ratio: 0.2, steps: 90, decay_steps: 20, decay: sqrt}
  muon: {iteration: polar_express, steps: 6, nesterov: false, split_heads: false}
  projection: {rank: null, refresh_interval: null, scale: null, growth_limit: null, residual: null}
  update: per_step
  galore: {rank: 8, refresh_interval: 50, refresh: exact, stagger: true, scale: 1, side: full, basis_type: int4, targets: [mlp], lazy_threshold: 0.5, moments_at_refresh: rotate, first_basis: exact}
  lora: null
training:
  steps: 100
  epochs: null
  global_batch: 8
  micro_batch: 2
  precision: fp32
  master_weights: none
  accumulate_type: fp32
  recompute: block
  kept_inputs: 3
  z_loss: 1e-4
  log_every: 1
  evaluate_every: 0
  evaluate_tokens: 4096
parallel: {ranks: 2, zero: 3, wire_type: fp32, hang_timeout: 5m}
resources: {device: cpu, memory_per_rank: 1.5GiB}
checkpoint: {directory: here, every: 10, keep: 1, resume: never, resume_with_changed_data: true, copy_to: "s3://team/runs"}
scheduling: {queue: default, priority: -5, preemptible: false, max_retries: 0, time_limit: 12h, after: [a1], labels: {rack: r1, gpus: 8}, queue_timeout: 2d}
output: {tensorboard: true}
tracking: {mlflow: 'https://mlflow.example/team', experiment: novels, run_name: first}
labels: {team: nlp}
note: for the paper
)";

TEST(JobFile, EveryKeyIsRead) {
  const v1::Job job = parse_good(kEverything, "/jobs/folder");
  EXPECT_EQ(job.task(), v1::TASK_FINETUNE);
  EXPECT_EQ(job.model().source(), "/jobs/folder/models/llama");
  EXPECT_EQ(job.model().init(), v1::Model::INIT_RANDOM);
  EXPECT_EQ(job.model().overrides().at("vocab_size"), "512");
  EXPECT_EQ(job.model().overrides().at("rope_scaling"), "null");
  EXPECT_EQ(job.model().overrides().at("act"), "\"silu\"");
  EXPECT_EQ(job.model().overrides().at("a"), "[1,2.5,{\"b\":true}]");
  EXPECT_EQ(job.tokenizer(), "bytes");
  EXPECT_EQ(job.data().train(0), "/jobs/folder/a/*.txt");
  EXPECT_EQ(job.data().train(1), "/abs/b.txt");
  EXPECT_EQ(job.data().seed(), UINT64_MAX);
  EXPECT_FALSE(job.data().shuffle());
  EXPECT_EQ(job.optimizer().learning_rate(), 0.01);
  EXPECT_EQ(job.optimizer().schedule().min_ratio(), 0.2);
  EXPECT_EQ(job.optimizer().galore().stagger(), v1::Galore::STAGGER_TRUE);
  EXPECT_EQ(job.optimizer().galore().targets_size(), 1);
  EXPECT_EQ(job.resources().memory_per_rank(), 1610612736u);
  EXPECT_EQ(job.checkpoint().directory(), "here");
  EXPECT_EQ(job.scheduling().priority(), -5);
  EXPECT_EQ(job.scheduling().time_limit(), 43200u);
  EXPECT_EQ(job.scheduling().labels().at("gpus"), "8");
  EXPECT_TRUE(job.output().tensorboard());
  EXPECT_EQ(job.tracking().mlflow(), "https://mlflow.example/team");
  EXPECT_EQ(job.tracking().run_name(), "first");
}

TEST(JobFile, EveryKeyOfTheContractIsInTheTestAbove) {
  const std::string reference = job_reference_markdown();
  for (const auto* section : keys_of(*v1::Job::descriptor())) {
    EXPECT_NE(reference.find("| `" + section->name() + "` |"), std::string::npos) << section->name();
    EXPECT_NE(std::string(kEverything).find(section->name() + ":"), std::string::npos) << section->name();
    if (section->message_type() == nullptr || section->is_map()) continue;
    for (const auto* field : keys_of(*section->message_type())) {
      EXPECT_NE(std::string(kEverything).find(field->name() + ":"), std::string::npos) << field->name();
      EXPECT_NE(reference.find("`" + section->name() + "." + field->name() + "`"), std::string::npos) << field->name();
    }
  }
}

TEST(JobFile, WrittenJobsReadBackTheSame) {
  for (const char* yaml : {kMinimal, kEverything}) {
    const v1::Job job = parse_good(yaml, "/folder");
    const v1::Job again = parse_good(job_to_yaml(job), "/elsewhere");
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(job, again)) << job_to_yaml(again);
  }
}

TEST(JobFile, NullsThatFollowFromOtherKeysAreDerived) {
  const v1::Job linear = parse_good(std::string(kMinimal) + "optimizer: {schedule: {type: linear}}\n");
  EXPECT_EQ(linear.optimizer().schedule().min_ratio(), 0.0);
  const v1::Schedule wsd =
      parse_good(std::string(kMinimal) + "optimizer: {schedule: {type: wsd}}\n").optimizer().schedule();
  EXPECT_EQ(wsd.min_ratio(), 0.0);
  EXPECT_EQ(wsd.decay_steps(), 1000U);
  EXPECT_EQ(wsd.decay(), v1::Schedule::DECAY_LINEAR);
  EXPECT_FALSE(linear.optimizer().schedule().has_decay_steps());
  const v1::Job epochs = parse_good(R"(name: e
task: finetune
model: {source: m}
tokenizer: bytes
data: {train: [a]}
training: {epochs: 0.5}
)");
  EXPECT_FALSE(epochs.optimizer().schedule().has_steps());
  EXPECT_FALSE(epochs.optimizer().schedule().has_warmup_steps());
  EXPECT_FALSE(epochs.training().has_steps());
  EXPECT_EQ(epochs.model().init(), v1::Model::INIT_PRETRAINED);
}

TEST(JobFile, EveryRuleHasTheDefaultsOfItsOwn) {
  auto optimizer = [](const std::string& keys) {
    return parse_good(std::string(kMinimal) + "optimizer: {" + keys + "}\n").optimizer();
  };
  const v1::Optimizer adam8bit = optimizer("rule: adam8bit, block_size: 2048");
  EXPECT_EQ(adam8bit.beta1(), 0.9);
  EXPECT_EQ(adam8bit.epsilon(), 1e-8);
  EXPECT_EQ(adam8bit.weight_decay(), 0.01);
  EXPECT_EQ(optimizer("rule: adam8bit, weight_decay: 0").weight_decay(), 0.0);
  const v1::Optimizer adafactor = optimizer("rule: adafactor");
  EXPECT_FALSE(adafactor.has_beta1());
  EXPECT_EQ(adafactor.epsilon(), 1e-30);
  EXPECT_EQ(adafactor.weight_decay(), 0.0);
  EXPECT_EQ(optimizer("rule: adafactor, beta1: 0.9").beta1(), 0.9);
  const v1::Optimizer sgd = optimizer("rule: sgd, momentum: 0.8");
  EXPECT_FALSE(sgd.has_beta1());
  EXPECT_FALSE(sgd.has_epsilon());
  EXPECT_EQ(sgd.momentum(), 0.8);
  const v1::Optimizer muon = optimizer("rule: muon, galore: {rank: 4}");
  EXPECT_EQ(muon.momentum(), 0.95);
  EXPECT_EQ(muon.beta1(), 0.9);
  EXPECT_EQ(muon.epsilon(), 1e-6);
  EXPECT_EQ(muon.galore().moments_at_refresh(), v1::Galore::MOMENTS_AT_REFRESH_ROTATE);
  EXPECT_EQ(optimizer("rule: muon8bit").epsilon(), 1e-8);
  EXPECT_EQ(optimizer("rule: adamw, galore: {rank: 4}").galore().moments_at_refresh(),
            v1::Galore::MOMENTS_AT_REFRESH_KEEP);
}

TEST(JobFile, EmptySectionsMeanTheirDefaults) {
  EXPECT_EQ(job_to_yaml(parse_good(std::string(kMinimal) + "parallel:\noptimizer: {schedule: {}, galore: null}\n")),
            job_to_yaml(parse_good(kMinimal)));
}

TEST(JobFile, AllErrorsOfAFileAreReportedWithTheirLines) {
  EXPECT_EQ(
      parse_bad(R"(name: small
task: pretrain
model: {source: preset:tiny}
tokenizer: bytes
data: {train: [a]}
optimizer:
  rule: adamm
  learning_rat: 0.1
training:
  steps: many
)"),
      "job.yaml:7: optimizer.rule: \"adamm\" is not accepted; one of adamw, adam8bit, adafactor, sgd, muon, muon8bit, "
      "scale, apollo, apollo_mini, fira\n"
      "job.yaml:8: optimizer.learning_rat: unknown key; did you mean learning_rate? Accepted here: rule, "
      "learning_rate, "
      "rates, beta1, beta2, momentum, epsilon, epsilon_form, state_type, block_size, weight_decay, decay_exempt, clip_norm, "
      "clip_space, schedule, muon, projection, update, galore, lora\n"
      "job.yaml:10: training.steps: \"many\" is not accepted; a whole number from 0 to 18446744073709551615, or null");
}

TEST(JobFile, AFileThatIsMissingIsNamed) {
  absl::StatusOr<v1::Job> job = load_job_file("/no/such/job.yaml");
  EXPECT_EQ(job.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(job.status().message().find("/no/such/job.yaml"), std::string::npos);
}

TEST(JobFile, PathsAreResolvedAgainstTheFoldersOfTheFile) {
  const std::string folder = testing::TempDir() + "/jobfile-" + random_hex(4);
  ASSERT_TRUE(make_folders(folder).ok());
  ASSERT_TRUE(write_file_atomically(folder + "/job.yaml", kMinimal).ok());
  absl::StatusOr<v1::Job> job = load_job_file(folder + "/job.yaml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->tokenizer(), std::filesystem::path(folder + "/tokenizer.model").lexically_normal().string());
  EXPECT_EQ(job->model().source(), "preset:llama-60m");
  std::filesystem::remove_all(folder);
}

TEST(JobFile, MastersBelongToBf16Weights) {
  for (const std::string master : {"fp32", "fp24"}) {
    std::string yaml(kMinimal);
    const size_t at = yaml.find("training: {");
    ASSERT_NE(at, std::string::npos);
    yaml.insert(at + 11, "master_weights: " + master + ", ");
    EXPECT_EQ(parse_bad(yaml), "job.yaml:6: training.master_weights: " + master +
                                   " contradicts training.precision: fp32, whose weights are fp32 already; none");
  }
}

// One line of a job that is otherwise good, and the whole of what is said about it.
struct BadLine {
  const char* name;
  const char* added;
  const char* message;
};

class BadLines : public testing::TestWithParam<BadLine> {};

TEST_P(BadLines, AreRefusedWithWhatWouldBeAccepted) {
  const std::string yaml = std::string(kMinimal) + GetParam().added + "\n";
  EXPECT_EQ(parse_bad(yaml), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    JobFile, BadLines,
    testing::Values(
        BadLine{"Doubled", "name: again", "job.yaml:7: name: given twice, first in line 1"},
        BadLine{"UnknownRoot", "steps: 5",
                "job.yaml:7: steps: unknown key; did you mean optimizer.schedule.steps or optimizer.muon.steps or "
                "training.steps? Accepted "
                "here: name, "
                "task, model, tokenizer, data, optimizer, training, parallel, resources, checkpoint, scheduling, "
                "output, tracking, labels, note"},
        BadLine{
            "Internal", "shape: {}",
            "job.yaml:7: shape: unknown key; accepted here: name, task, model, tokenizer, data, optimizer, training, "
            "parallel, resources, checkpoint, scheduling, output, tracking, labels, note"},
        BadLine{"GaloreWithoutRank", "optimizer: {galore: {}}",
                "job.yaml:7: optimizer.galore.rank: is required: dimension of the subspace; clipped to the smaller "
                "side of a matrix"},
        BadLine{"TrackingWithoutServer", "tracking: {experiment: a}",
                "job.yaml:7: tracking.mlflow: is required: address of an MLflow server: http(s)://HOST[:PORT][/PATH]; "
                "parameters, metrics and the end of the run are sent to it beside training"},
        BadLine{
            "TrackingOfAnotherKind", "tracking: {mlflow: 'databricks://team'}",
            "job.yaml:7: tracking.mlflow: databricks:// is not spoken; http://HOST:PORT or https://HOST/PATH is how "
            "it looks; `mlflow server` serves a file or a database so"},
        BadLine{
            "TrackingWithAPassword", "tracking: {mlflow: 'https://ann:pass@mlflow'}",
            "job.yaml:7: tracking.mlflow: credentials do not belong in the address; they come from the environment: "
            "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"},
        BadLine{"TrackingWithoutAName", "tracking: {mlflow: 'http://a', run_name: ''}",
                "job.yaml:7: tracking.run_name: is empty; a name, or null"},
        BadLine{"RankZero", "optimizer: {galore: {rank: 0}}",
                "job.yaml:7: optimizer.galore.rank: 0 is not accepted; 1 or more"},
        BadLine{"NotANumber", "optimizer: {learning_rate: .nan}",
                "job.yaml:7: optimizer.learning_rate: \".nan\" is not accepted; a finite number"},
        BadLine{"Infinite", "optimizer: {learning_rate: 1e999}",
                "job.yaml:7: optimizer.learning_rate: \"1e999\" is not accepted; a finite number"},
        BadLine{"NegativeRate", "optimizer: {learning_rate: -1}",
                "job.yaml:7: optimizer.learning_rate: -1 is not accepted; greater than 0"},
        BadLine{"TooLarge", "parallel: {ranks: 4294967296}",
                "job.yaml:7: parallel.ranks: \"4294967296\" is not accepted; a whole number from 0 to 4294967295"},
        BadLine{"QuotedNumber", "parallel: {ranks: '1'}",
                "job.yaml:7: parallel.ranks: \"1\" is not accepted; a whole number from 0 to 4294967295"},
        BadLine{"YesIsNoBoolean", "scheduling: {preemptible: yes}",
                "job.yaml:7: scheduling.preemptible: \"yes\" is not accepted; true or false"},
        BadLine{"ListForSection", "checkpoint: [1]", "job.yaml:7: checkpoint: a list is not accepted; a mapping"},
        BadLine{"NumberForString", "checkpoint: {directory: 5}",
                "job.yaml:7: checkpoint.directory: \"5\" is not accepted; a string: \"5\""},
        BadLine{"ScalarForList", "scheduling: {after: a1}",
                "job.yaml:7: scheduling.after: \"a1\" is not accepted; a list of strings: [a1]"},
        BadLine{
            "NullWithoutMeaning", "optimizer: {rule: null}",
            "job.yaml:7: optimizer.rule: null is not accepted; one of adamw, adam8bit, adafactor, sgd, muon, muon8bit, "
            "scale, apollo, apollo_mini, fira"},
        BadLine{"BadBytes", "resources: {memory_per_rank: 24 gigs}",
                "job.yaml:7: resources.memory_per_rank: \"24 gigs\" is not accepted; a byte count such as 512MiB, "
                "24GiB or 1GB, "
                "or null"},
        BadLine{"BadDuration", "scheduling: {time_limit: 12 hours}",
                "job.yaml:7: scheduling.time_limit: \"12 hours\" is not accepted; a duration such as 90s, 15m or 12h, "
                "or null"},
        BadLine{"PerLayerClip", "optimizer: {clip_norm: 1.0, update: per_layer}",
                "job.yaml:7: optimizer.clip_norm: contradicts optimizer.update: per_layer, which never sees the norm "
                "of all "
                "gradients; clip_norm: 0 or update: per_step"},
        BadLine{"Multiple", "parallel: {ranks: 3}",
                "job.yaml:6: training.global_batch: 512 is not a multiple of training.micro_batch × parallel.ranks = "
                "16 × 3; 480 "
                "or 528"},
        BadLine{"Warmup", "optimizer: {schedule: {warmup_steps: 20000}}",
                "job.yaml:7: optimizer.schedule.warmup_steps: 20000 is more than optimizer.schedule.steps (10000); at "
                "most 10000"},
        BadLine{"MinRatio", "optimizer: {schedule: {min_ratio: 1.5}}",
                "job.yaml:7: optimizer.schedule.min_ratio: 1.5 is not accepted; from 0 to 1"},
        BadLine{"DecayOfAnotherSchedule", "optimizer: {schedule: {decay_steps: 5}}",
                "job.yaml:7: optimizer.schedule.decay_steps: contradicts optimizer.schedule.type; it belongs to wsd"},
        BadLine{"DecayIntoTheWarmUp", "optimizer: {schedule: {type: wsd, decay_steps: 9500}}",
                "job.yaml:7: optimizer.schedule.decay_steps: 9500 are more than what optimizer.schedule.warmup_steps "
                "(1000) leaves of optimizer.schedule.steps (10000)"},
        BadLine{"RateOfNothing", "optimizer: {rates: {head: 0}}",
                "job.yaml:7: optimizer.rates.head: 0 is not accepted; greater than 0"},
        BadLine{"RateThatDecaysAllAtOnce", "optimizer: {weight_decay: 0.1, learning_rate: 0.5, rates: {embedding: 30}}",
                "job.yaml:7: optimizer.rates.embedding: 30 contradicts optimizer.learning_rate 0.5 and "
                "optimizer.weight_decay 0.1: their product is the part of a weight that a step takes away; below 1"},
        BadLine{"ExemptGroup", "optimizer: {weight_decay: 0.1, decay_exempt: [norm]}",
                "job.yaml:7: optimizer.decay_exempt: \"norm\" is not accepted; any of norms, biases, embeddings, head"},
        BadLine{
            "ExemptFromNothing", "optimizer: {decay_exempt: [norms]}",
            "job.yaml:7: optimizer.decay_exempt: contradicts optimizer.weight_decay 0, with which nothing decays; a "
            "decay above 0, or an empty list"},
        BadLine{"EpsilonFormOfSgd", "optimizer: {rule: sgd, epsilon_form: corrected}",
                "job.yaml:7: optimizer.epsilon_form: corrected contradicts optimizer.rule: sgd; it belongs to any "
                "but adafactor and sgd"},
        BadLine{"DenseClip", "optimizer: {clip_space: dense}",
                "job.yaml:7: optimizer.clip_space: dense needs parallel.ranks: 1 and training.global_batch equal to "
                "training.micro_batch (they are 1, 512 and 16); projected"},
        BadLine{"Zero", "parallel: {zero: 4}", "job.yaml:7: parallel.zero: 4 is not accepted; 1, 2 or 3"},
        BadLine{"HangTimeout", "parallel: {hang_timeout: 0}",
                "job.yaml:7: parallel.hang_timeout: 0 is not accepted; a duration such as 10m"},
        BadLine{
            "SecondMomentOfSgd", "optimizer: {rule: sgd, beta2: 0.95}",
            "job.yaml:7: optimizer.beta2: 0.95 contradicts optimizer.rule: sgd; it belongs to any but adafactor and "
            "sgd"},
        BadLine{"FirstMomentOfSgd", "optimizer: {rule: sgd, beta1: 0.9}",
                "job.yaml:7: optimizer.beta1: 0.9 contradicts optimizer.rule: sgd; it belongs to any but sgd"},
        BadLine{"EpsilonOfSgd", "optimizer: {rule: sgd, epsilon: 1e-8}",
                "job.yaml:7: optimizer.epsilon: 1e-08 contradicts optimizer.rule: sgd; it belongs to any but sgd"},
        BadLine{"DecayRateOfAdafactor", "optimizer: {rule: adafactor, beta2: 0.95}",
                "job.yaml:7: optimizer.beta2: 0.95 contradicts optimizer.rule: adafactor; it belongs to any "
                "but adafactor and sgd"},
        BadLine{"LazyRandomBases", "optimizer: {galore: {rank: 4, refresh: random, lazy_threshold: 0.5}}",
                "job.yaml:7: optimizer.galore.lazy_threshold: contradicts optimizer.galore.refresh: random, whose "
                "bases follow no gradient; null, or another refresh"},
        BadLine{"FirstOfRandomBases", "optimizer: {galore: {rank: 4, refresh: random, first_basis: exact}}",
                "job.yaml:7: optimizer.galore.first_basis: contradicts optimizer.galore.refresh: random, whose first "
                "basis is random too; null, or another refresh"},
        BadLine{"MomentumOfAnotherRule", "optimizer: {momentum: 0.5}",
                "job.yaml:7: optimizer.momentum: 0.5 contradicts optimizer.rule: adamw; it belongs to sgd, muon, "
                "muon8bit or scale"},
        BadLine{"BlocksOfAnotherRule", "optimizer: {block_size: 2048}",
                "job.yaml:7: optimizer.block_size: 2048 contradicts optimizer.rule: adamw; it belongs to adam8bit or "
                "muon8bit"},
        BadLine{"StateTypeOfAnotherRule", "optimizer: {rule: adam8bit, state_type: flash}",
                "job.yaml:7: optimizer.state_type: flash contradicts optimizer.rule: adam8bit; it belongs to adamw or "
                "muon"},
        BadLine{"StateInFp32OfCodes", "optimizer: {rule: muon8bit, state_type: fp32}",
                "job.yaml:7: optimizer.state_type: fp32 contradicts optimizer.rule: muon8bit; it belongs to adamw or "
                "muon"},
        BadLine{
            "StateTypeOfWholeGradients", "optimizer: {rule: fira, projection: {rank: 4}, state_type: flash}",
            "job.yaml:7: optimizer.state_type: flash contradicts optimizer.rule: fira; it belongs to adamw or muon"},
        BadLine{"SlowDecayOfFlash", "optimizer: {state_type: flash, beta2: 0.9999}",
                "job.yaml:7: optimizer.beta2: 0.9999 is not accepted; 0.999 or less with optimizer.state_type: flash, "
                "whose scales do not follow a slower decay"},
        BadLine{"SlowMomentumOfFlash", "optimizer: {rule: muon, state_type: flash, momentum: 0.9995}",
                "job.yaml:7: optimizer.momentum: 0.9995 is not accepted; 0.999 or less with optimizer.state_type: "
                "flash, whose scales do not follow a slower decay"},
        BadLine{"UnknownStateType", "optimizer: {state_type: int8}",
                "job.yaml:7: optimizer.state_type: \"int8\" is not accepted; one of fp32, flash, or null"},
        BadLine{"BlockSize", "optimizer: {block_size: 100}",
                "job.yaml:7: optimizer.block_size: 100 is not accepted; a power of two from 64 to 4096\n"
                "job.yaml:7: optimizer.block_size: 100 contradicts optimizer.rule: adamw; it belongs to adam8bit or "
                "muon8bit"},
        BadLine{"ProjectionOfAnotherRule", "optimizer: {projection: {rank: 4}}",
                "job.yaml:7: optimizer.projection: contradicts optimizer.rule: adamw; it belongs to apollo, "
                "apollo_mini or fira"},
        BadLine{"ApolloWithoutARank", "optimizer: {rule: apollo}",
                "job.yaml:7: optimizer.projection.rank: is required with optimizer.rule: apollo; 1 or more"},
        BadLine{
            "MiniOfAnotherRank", "optimizer: {rule: apollo_mini, projection: {rank: 2}}",
            "job.yaml:7: optimizer.projection.rank: 2 is not accepted; 1 with optimizer.rule: apollo_mini, or null"},
        BadLine{"ResidualOfApollo", "optimizer: {rule: apollo, projection: {rank: 2, residual: scaled}}",
                "job.yaml:7: optimizer.projection.residual: contradicts optimizer.rule: apollo; it belongs to fira"},
        BadLine{"WholeGradientOfGalore", "optimizer: {rule: scale, galore: {rank: 4}}",
                "job.yaml:7: optimizer.galore: contradicts optimizer.rule: scale, which looks at the whole gradient; "
                "null"},
        BadLine{"MuonOfAnotherRule", "optimizer: {muon: {steps: 6}}",
                "job.yaml:7: optimizer.muon: contradicts optimizer.rule: adamw; it belongs to muon or muon8bit"},
        BadLine{"NoStepsOfMuon", "optimizer: {rule: muon, muon: {steps: 0}}",
                "job.yaml:7: optimizer.muon.steps: 0 is not accepted; from 1 to 20, or null"},
        BadLine{"MuonOfAdapters", "optimizer: {rule: muon8bit, lora: {rank: 4}}",
                "job.yaml:7: optimizer.rule: muon8bit contradicts optimizer.lora, whose adapters are no matrices of "
                "their own; adamw"},
        BadLine{"HeadsOfTwoSides", "optimizer: {rule: muon, muon: {split_heads: true}, galore: {rank: 4, side: full}}",
                "job.yaml:7: optimizer.muon.split_heads: contradicts optimizer.galore.side: full, which mixes the rows "
                "of heads; another side"},
        BadLine{"DecayBeyondTheWeight", "optimizer: {learning_rate: 2, weight_decay: 0.5}",
                "job.yaml:7: optimizer.weight_decay: 0.5 contradicts optimizer.learning_rate 2: their product is the "
                "part of a weight that a step takes away; below 1"},
        BadLine{"IteratedExact", "optimizer: {galore: {rank: 4, refresh: exact, first_basis: iterated}}",
                "job.yaml:7: optimizer.galore.first_basis: iterated contradicts optimizer.galore.refresh: exact; "
                "exact, or refresh: subspace"},
        BadLine{"LoraDropout", "optimizer: {lora: {rank: 4, dropout: 1.0}}",
                "job.yaml:7: optimizer.lora.dropout: 1 is not accepted; from 0 to below 1"},
        BadLine{"Both", "optimizer: {lora: {rank: 4}, galore: {rank: 4}}",
                "job.yaml:7: optimizer.galore: contradicts optimizer.lora; one of the two must be null"},
        BadLine{"Target", "optimizer: {galore: {rank: 4, targets: [head]}}",
                "job.yaml:7: optimizer.galore.targets: \"head\" is not accepted; any of attention, mlp"},
        BadLine{"Tag", "checkpoint: {every: !!int 5}",
                "job.yaml:7: checkpoint.every: the YAML tag tag:yaml.org,2002:int is not accepted"}),
    [](const testing::TestParamInfo<BadLine>& line) { return line.param.name; });

// Whole files, where the changed part is not a line of its own.
std::string with(const std::string& from, const std::string& to) {
  std::string yaml = kMinimal;
  const size_t at = yaml.find(from);
  EXPECT_NE(at, std::string::npos);
  return yaml.replace(at, from.size(), to);
}

TEST(JobFile, FilesThatAreNoJobAreRefused) {
  EXPECT_EQ(parse_bad(""), "job.yaml: a job file is a mapping of keys, beginning with `name:`");
  EXPECT_EQ(parse_bad("- 1\n"), "job.yaml:1: a job file is a mapping of keys, beginning with `name:`");
  EXPECT_EQ(parse_bad("name: a\n---\nname: b\n"), "job.yaml:3: more than one YAML document; one is accepted");
  // In which the parser finds documents without end.
  EXPECT_NE(parse_bad(",a\nb\n").find("YAML"), std::string::npos);
  EXPECT_EQ(parse_bad("name: \xff\n"), "job.yaml:1: not UTF-8 text");
  EXPECT_EQ(parse_bad("name: [a\n").rfind("job.yaml:", 0), 0u);
}

TEST(JobFile, StepsAndEpochsExcludeEachOther) {
  EXPECT_EQ(parse_bad(with("{steps: 10000}", "{}")), "job.yaml:6: training.steps: is required, or training.epochs");
  EXPECT_EQ(parse_bad(with("{steps: 10000}", "{steps: 1, epochs: 1}")),
            "job.yaml:6: training.steps: contradicts training.epochs; give one of the two");
  EXPECT_EQ(parse_bad(with("{steps: 10000}", "{steps: 0}")),
            "job.yaml:6: training.steps: 0 is not accepted; 1 or more");
}

TEST(JobFile, TheTokenizerGoesWithTextAndNotWithTokens) {
  EXPECT_EQ(parse_bad(with("tokenizer: tokenizer.model\n", "")),
            "job.yaml: tokenizer: is required unless data.format is tokens: a SentencePiece .model, a tokenizer.json, "
            "a folder, or bytes");
  EXPECT_EQ(
      parse_bad(with("{train: [c4/*.json.gz]}", "{train: [a.bin], format: tokens}")),
      "job.yaml:4: tokenizer: contradicts data.format: tokens, whose files are tokenized already; leave tokenizer out");
}

TEST(JobFile, RequiredKeysAreNamed) {
  EXPECT_EQ(parse_bad("name: a\n"),
            "job.yaml: task: is required: what is trained\njob.yaml: model: is required: the network\n"
            "job.yaml: data: is required: what it learns from\njob.yaml: training: is required: how long, and in which "
            "pieces");
  EXPECT_EQ(parse_bad(with("name: small", "name: Small_1")),
            "job.yaml:1: name: \"Small_1\" is not accepted; 1 to 48 lower-case letters, digits and '-'");
  EXPECT_EQ(parse_bad(with("preset:llama-60m", "preset:llama-60m, init: pretrained")),
            "job.yaml:3: model.init: pretrained contradicts model.source preset:llama-60m, which has no weights; "
            "random, or a "
            "folder with weights as model.source");
}

TEST(JobFile, AliasesCannotExpandWithoutBound) {
  std::string yaml = std::string(kMinimal) + "scheduling:\n  labels: &a {x: 1}\n";
  EXPECT_TRUE(parse_job(yaml, "job.yaml", "").ok());
  std::string bomb = "name: a\nmodel:\n  overrides:\n    l0: &l0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string below = "*l" + std::to_string(i - 1);
    bomb += "    l" + std::to_string(i) + ": &l" + std::to_string(i) + " [" + below;
    for (int k = 0; k < 9; ++k) bomb += ", " + below;
    bomb += "]\n";
  }
  EXPECT_NE(parse_bad(bomb).find("too large or too deep"), std::string::npos);
}

TEST(JobFile, KeptInputsAreACountThatNeedsRecomputation) {
  v1::Job job = parse_good(kMinimal);
  job.mutable_training()->set_kept_inputs(4);
  EXPECT_EQ(validate_job(job).message(),
            "training.kept_inputs: needs training.recompute: block; without it every activation is kept");
  job.mutable_training()->set_recompute(v1::Training::RECOMPUTE_BLOCK);
  EXPECT_TRUE(validate_job(job).ok());
  job.mutable_training()->set_kept_inputs(0);
  EXPECT_EQ(validate_job(job).message(), "training.kept_inputs: 0 is not accepted; 1 or more, or null");
}

TEST(JobFile, AZLossIsGreaterThanNothingAndOfAVocabulary) {
  const std::string head = "name: z\nmodel: {source: m}\ntokenizer: bytes\ndata: {train: [a]}\n";
  EXPECT_EQ(parse_good(head + "task: pretrain\ntraining: {steps: 1, z_loss: 1e-4}\n").training().z_loss(), 1e-4);
  EXPECT_EQ(parse_bad(head + "task: pretrain\ntraining: {steps: 1, z_loss: -1}\n"),
            "job.yaml:6: training.z_loss: -1 is not accepted; greater than 0");
  EXPECT_EQ(parse_bad(head + "task: classify\ntraining: {steps: 1, z_loss: 1e-4}\n"),
            "job.yaml:6: training.z_loss: contradicts task: classify, whose outputs are no vocabulary; null");
}

TEST(JobFile, TheSchedulersCheckSaysTheSameWithoutLines) {
  v1::Job job = parse_good(kMinimal);
  EXPECT_TRUE(validate_job(job).ok());
  job.mutable_training()->set_micro_batch(0);
  job.mutable_parallel()->set_zero(7);
  EXPECT_EQ(validate_job(job).message(),
            "training.micro_batch: 0 is not accepted; 1 or more\n"
            "parallel.zero: 7 is not accepted; 1, 2 or 3");
  EXPECT_EQ(validate_job(v1::Job()).code(), absl::StatusCode::kInvalidArgument);
}

TEST(JobFile, NumbersOfEnumerationsThatHaveNoWordAreRefusedByKeyWithTheWords) {
  v1::Job job = parse_good(kMinimal);
  job.mutable_training()->set_precision(static_cast<v1::Precision>(77));
  EXPECT_EQ(validate_job(job).message(), "training.precision: value 77 is not accepted; one of fp32, bf16");
  job = parse_good(kMinimal);
  job.set_task(static_cast<v1::Task>(9));
  EXPECT_EQ(validate_job(job).message(), "task: value 9 is not accepted; one of pretrain, finetune, classify");
}

// Sets each enumeration in the message and those in it, one after the other, to a number without a word.
void with_unknown_values(google::protobuf::Message& message, const std::string& prefix,
                         const std::function<void(const std::string& key)>& check) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->is_repeated()) continue;
    const std::string key = absl::StrCat(prefix, field->name());
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
      if (reflection.HasField(message, field))
        with_unknown_values(*reflection.MutableMessage(&message, field), key + ".", check);
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_ENUM) {
      const bool given = reflection.HasField(message, field);
      const int before = reflection.GetEnumValue(message, field);
      for (const int unknown : {77, -1}) {
        reflection.SetEnumValue(&message, field, unknown);
        check(absl::StrCat(key, ": value ", unknown, " is not accepted; "));
      }
      reflection.SetEnumValue(&message, field, before);
      if (!given) reflection.ClearField(&message, field);
    }
  }
}

TEST(JobFile, ANumberWithoutAWordIsRefusedWhereverItStands) {
  v1::Job job = parse_good(absl::StrCat(kMinimal, "optimizer: {galore: {rank: 8}}\n"));
  int keys = 0;
  with_unknown_values(job, "", [&](const std::string& refusal) {
    ++keys;
    EXPECT_TRUE(absl::StartsWith(validate_job(job).message(), refusal)) << validate_job(job).message();
  });
  EXPECT_GT(keys, 20);
  EXPECT_TRUE(validate_job(job).ok());
}

}  // namespace
}  // namespace galleon
