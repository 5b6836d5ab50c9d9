// model.overrides: {vocab_size}, beside what a folder has and what its tokenizer needs.
#include "tests/worker/engine/peft_runs.h"
#include "tests/worker/engine/reference_support.h"

namespace galleon {
namespace {

using testing::HasSubstr;

TEST(GrownVocabulary, MoreThanTheFilesIsGrownLessIsRefusedAndARandomModelHasAny) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.model.source = base_model(folder.path() + "/base", true);  // 257, as many as bytes have
  struct Case {
    bool pretrained;
    const char* vocabulary;  // empty: no override
    int64_t resolved, grown_from;
    const char* error;
  };
  for (const Case& c : {Case{true, "", 257, 0, ""},
                        {true, "257", 257, 0, ""},
                        {true, "300", 300, 257, ""},
                        {true, "256", 0, 0, "has 257 pieces, and the model's vocab_size is 256"},
                        {true, "0", 0, 0, "vocab_size must be an integer of at least 1"},
                        {true, "\"300\"", 0, 0, "vocab_size must be an integer of at least 1"},
                        {false, "300", 300, 0, ""},
                        {false, "256", 0, 0, "has 257 pieces, and the model's vocab_size is 256"}}) {
    SCOPED_TRACE(absl::StrCat(c.pretrained, " ", c.vocabulary));
    o.model.pretrained = c.pretrained;
    o.model.overrides.clear();
    if (c.vocabulary[0] != '\0') o.model.overrides = {{"vocab_size", c.vocabulary}};
    const absl::StatusOr<ResolvedJob> job = resolve_job(o);
    EXPECT_EQ(job.ok(), c.error[0] == '\0') << job.status();
    EXPECT_THAT(std::string(job.status().message()), HasSubstr(c.error));
    if (!job.ok()) continue;
    EXPECT_EQ(job->config.vocabulary, c.resolved);
    EXPECT_EQ(job->grown_from, c.grown_from);
  }
  // Token files have no tokenizer that needs the rows: the folder's tokens are what would be cut off.
  o.model.pretrained = true;
  o.tokenizer = "";
  o.data.format = "tokens";
  o.model.overrides = {{"vocab_size", "256"}};
  EXPECT_THAT(std::string(resolve_job(o).status().message()),
              HasSubstr("model.overrides.vocab_size 256 is below the 257 of the pretrained folder"));
}

TEST(GrownVocabulary, AFolderWhoseFileHasMoreRowsThanItsConfigIsNotTakenForAGrownOne) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.model.source = base_model(folder.path() + "/base", false);
  o.model.pretrained = true;
  nlohmann::json json = nlohmann::json::parse(*read_file(o.model.source + "/config.json"));
  json["vocab_size"] = 270;
  ASSERT_TRUE(write_file_atomically(o.model.source + "/config.json", json.dump()).ok());
  for (const char* vocabulary : {"270", "300"}) {
    o.model.overrides = {{"vocab_size", vocabulary}};
    EXPECT_THAT(std::string(resolve_job(o).status().message()), HasSubstr("has shape 257x64; the model needs "))
        << vocabulary;
  }
}

TEST(GrownVocabulary, NewRowsAreTheMeanOfTheOldOnes) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  o.model.source = base_model(folder.path() + "/base", false);
  o.model.pretrained = true;
  o.model.overrides = {{"vocab_size", "259"}};
  o.optimizer.galore.reset();
  o.optimizer.learning_rate = 0;
  o.steps = 1;
  o.schedule_steps = 1;
  const RankOutcome run = run_one(o, folder.path() + "/out");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  EXPECT_THAT(run.observer.stages, testing::Contains(HasSubstr("2 new tokens begin as the mean of the folder's 257")));
  absl::StatusOr<SafetensorsReader> base = SafetensorsReader::open(o.model.source + "/model.safetensors");
  absl::StatusOr<SafetensorsReader> grown =
      SafetensorsReader::open(o.checkpoint_folder + "/step-00000001/model.safetensors");
  ASSERT_TRUE(base.ok() && grown.ok());
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    const std::vector<float> old_rows = fixture(*base, name);
    const std::vector<float> rows = fixture(*grown, name);
    ASSERT_EQ(rows.size(), 259U * 64);
    for (size_t j = 0; j < 64; ++j) {
      double sum = 0;
      for (size_t i = 0; i < 257; ++i) {
        sum += old_rows[i * 64 + j];
        EXPECT_EQ(rows[i * 64 + j], old_rows[i * 64 + j]);
      }
      for (const size_t row : {257U, 258U}) EXPECT_EQ(rows[row * 64 + j], static_cast<float>(sum / 257)) << name;
    }
  }
}

}  // namespace
}  // namespace galleon
