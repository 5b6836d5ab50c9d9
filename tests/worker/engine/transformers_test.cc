// What is trained here, in Hugging Face transformers. GALLEON_PYTHON names a Python that has torch and transformers;
// without one these tests are skipped.
#include <cstdlib>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/worker/engine/python_packages.h"
#include "tests/worker/engine/reference_support.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/checkpoint_writer.h"
#include "worker/engine/run/generation.h"

namespace galleon {
namespace {

bool has_transformers() {
  static const bool has = python_has("torch, transformers, safetensors");
  return has;
}

struct Output {
  int code = 0;
  std::string text;
};

Output load_in_transformers(const std::string& folder) {
  const std::string out = folder + "/transformers.txt";
  const std::string command =
      absl::StrCat("OMP_NUM_THREADS=2 ", python(), " ",
                   GALLEON_SOURCE_DIR "/tests/worker/engine/load_in_transformers.py ", folder, " >", out, " 2>&1");
  const int code = std::system(command.c_str());
  return {code, *read_file(out)};
}

// A line of the output: what follows its first word.
std::string line_of(const Output& output, const std::string& word) {
  for (const absl::string_view line : absl::StrSplit(output.text, '\n')) {
    if (line.substr(0, word.size() + 1) == word + " ") return std::string(line.substr(word.size() + 1));
  }
  return "";
}

std::vector<float> as_floats(const std::vector<int32_t>& numbers) {
  return {numbers.begin(), numbers.end()};
}

class Transformers : public testing::TestWithParam<const char*> {};

TEST_P(Transformers, ACheckpointLoadsAsItIsAndGivesTheSameLogitsAndText) {
  if (!has_transformers()) GTEST_SKIP() << python() << " has no torch and transformers; GALLEON_PYTHON names another";
  const SafetensorsReader reference = open_fixture(std::string("family_") + GetParam());
  EngineShape shape;
  shape.config = *model_config_from_json(reference.metadata().at("config"), "fixture", {});
  shape.optimizer.learning_rate = 0.01;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = 10;
  const bool encoder = shape.config.encoder();
  Batch batch = encoder ? labelled_batch_fixture(reference) : batch_fixture(reference);
  shape.sequence_length = batch.length;
  shape.micro_batch = batch.sequences;
  shape.micro_batches = 1;
  const std::unique_ptr<Device> device = make_cpu_device(2);
  const std::unique_ptr<Communicator> alone = make_single_communicator(*device);
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::create(shape, *device, *alone);
  ASSERT_TRUE(engine.ok()) << engine.status();
  std::vector<Parameter>& parameters = (*engine)->parameters();
  for (const Parameter& p : parameters) set_weight(p, *device, fixture(reference, p.name).data());
  for (int step = 1; step <= 3; ++step) (*engine)->step(step, {batch}, 0.02F);
  TestFolder folder;
  CheckpointHeader header;
  header.job = "test";
  header.step = 3;
  const CheckpointContent content{shape.config, parameters,          *device, (*engine)->optimizer(), {},
                                  std::nullopt, (*engine)->weights()};
  CheckpointWriter checkpoint(folder.path(), *alone);
  absl::Status saved = checkpoint.begin(header, content);
  ASSERT_TRUE(saved.ok()) << saved;
  saved = checkpoint.publish([](int64_t, const std::string&) { return absl::OkStatus(); });
  ASSERT_TRUE(saved.ok()) << saved;
  const std::string step = folder.path() + "/" + step_folder_name(3);

  std::vector<TensorToWrite> inputs;
  const auto add = [&](const std::string& name, std::vector<int64_t> sizes, const std::vector<float>& values) {
    inputs.push_back({name, std::move(sizes), [values] { return values; }, "F32", {}});
  };
  std::vector<int32_t> text;
  if (encoder) {
    batch.token_types.clear();  // all of the first type, as where none are given
    add("ids", {batch.sequences, batch.length}, as_floats(batch.ids));
    add("lengths", {batch.sequences}, as_floats(batch.lengths));
    add("logits", {batch.sequences, shape.config.labels}, (*engine)->model().outputs(batch));
  } else {
    const std::vector<int32_t> row(batch.ids.begin(), batch.ids.begin() + batch.length);
    add("ids", {1, batch.length}, as_floats(row));
    add("lengths", {1}, {static_cast<float>(batch.length)});
    add("logits", {1, shape.config.vocabulary}, (*engine)->model().next_logits(row));
    text.assign(row.begin(), row.begin() + 4);
    add("prompt", {1, 4}, as_floats(text));
    Arena arena(*device);
    const std::unique_ptr<Model> writer = make_model(shape.config, parameters, 1, 16, Activations::kText, arena);
    GenerationOptions options;
    options.temperature = 0;
    options.tokens = 12;
    generate_tokens(*writer, text, options, [&](int32_t token) {
      text.push_back(token);
      return true;
    });
  }
  ASSERT_TRUE(write_safetensors(step + "/inputs.safetensors", inputs, {}).ok());
  const Output output = load_in_transformers(step);
  ASSERT_EQ(output.code, 0) << output.text;
  // fp32 against double precision, as in the fixtures.
  EXPECT_LT(std::stod(line_of(output, "difference")), 2e-5) << output.text;
  // Beyond the config's positions transformers keep keys of other dynamic frequencies.
  if (!encoder && shape.config.rope.type != RopeType::kDynamic) {
    EXPECT_EQ(line_of(output, "text"), absl::StrJoin(text, " "));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Transformers,
                         testing::Values("mistral", "qwen2", "qwen3", "llama_biases", "llama_linear", "llama_dynamic",
                                         "llama_llama3", "llama_yarn", "bert", "roberta"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace galleon
