// Who submits sees nothing of what the job names: the workers have it, and one of them reads it.
#include "tests/e2e/service.h"

namespace galleon {
namespace {

class Inputs : public testing::Test {
 protected:
  // `galleon` where the folder of the inputs is empty, as on somebody's own machine.
  CommandResult elsewhere(const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {
        "/usr/bin/unshare", "--mount",         "/bin/sh", "-c", "mount -t tmpfs none \"$0\" && exec \"$@\"",
        service_.inputs(),  program("galleon")};
    command.insert(command.end(), arguments.begin(), arguments.end());
    ::setenv("GALLEON_SERVER", service_.server().c_str(), 1);
    absl::StatusOr<CommandResult> result = run_command(command, kPatience);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
  void SetUp() override {
    const absl::StatusOr<CommandResult> tried =
        run_command({"/usr/bin/unshare", "--mount", "/bin/true"}, absl::Seconds(30));
    if (!tried.ok() || tried->exit.code != 0) GTEST_SKIP() << "this user may not make a mount namespace";
    service_.start_scheduler();
  }
  Service service_;
};

TEST_F(Inputs, AWorkerReadsWhatTheSubmitterCannotSee) {
  const std::string file = service_.job_file("far", 6, 1);
  const CommandResult nobody = elsewhere({"submit", file});
  EXPECT_EQ(nobody.exit.code, 1);
  EXPECT_TRUE(absl::StrContains(nobody.err, "no worker is ready that could read the job's model")) << nobody.err;
  EXPECT_TRUE(absl::StartsWith(nobody.err, "galleon: data.train: no file matches ")) << nobody.err;
  service_.start_worker("north", 2);

  const CommandResult here = elsewhere({"submit", file, "--inputs", "here"});
  EXPECT_EQ(here.exit.code, 1);
  EXPECT_TRUE(absl::StrContains(here.err, "inputs/text.txt")) << here.err;
  const CommandResult made = elsewhere({"submit", file, "--wait", "-o", "json"});
  ASSERT_EQ(made.exit.code, 0) << made.err;
  service_.remember_trainers();
  const Json record = Json::parse(made.out, nullptr, false);
  EXPECT_EQ(record.value("state", ""), "SUCCEEDED") << made.out;
  // As if it had been read here.
  const std::string seen = service_.submit(service_.job_file("near", 6, 1));
  ASSERT_EQ(service_.galleon({"wait", seen}).exit.code, 0);
  EXPECT_EQ(service_.get(seen)["job"]["shape"], record["job"]["shape"]);
  const CommandResult group = elsewhere({"submit", file, "--sweep", "optimizer.learning_rate=0.01,0.02", "--dry-run"});
  EXPECT_EQ(group.exit.code, 0) << group.err;
}

TEST_F(Inputs, WhatAWorkerMayNotReadOrDoesNotHaveIsNamed) {
  service_.start_worker("north");
  const std::string file = service_.job_file("far", 6, 1);
  const CommandResult outside = elsewhere({"submit", file, "--set", "tokenizer=/etc/passwd"});
  EXPECT_EQ(outside.exit.code, 1);
  EXPECT_TRUE(absl::StrContains(outside.err,
                                "on worker north: tokenizer: /etc/passwd lies outside of what this worker "
                                "may read: " +
                                    service_.inputs() + "; move it there"))
      << outside.err;
  const CommandResult none = elsewhere({"submit", file, "--set", "data.train=[" + service_.inputs() + "/none.txt]"});
  EXPECT_EQ(none.exit.code, 1);
  EXPECT_TRUE(absl::StrContains(none.err, "on worker north: data.train: there is no ")) << none.err;
  ASSERT_TRUE(make_folders(service_.inputs() + "/model").ok());
  ASSERT_TRUE(write_file_atomically(service_.inputs() + "/model/config.json", "{\"model_type\": \"strange\"}").ok());
  const CommandResult wrong = elsewhere({"submit", file, "--set", "model.source=" + service_.inputs() + "/model"});
  EXPECT_EQ(wrong.exit.code, 1);
  EXPECT_TRUE(absl::StrContains(wrong.err, "on worker north: ")) << wrong.err;
  EXPECT_TRUE(absl::StrContains(wrong.err, "strange")) << wrong.err;
}

// A tokenizer that only the submitter has, of words with a letter more than the pieces of one call.
TEST_F(Inputs, WhatOnlyTheSubmitterHasComesWithTheJob) {
  service_.start_worker("north", 2);
  const std::string own = service_.folder() + "/own";
  ASSERT_TRUE(make_folders(own).ok());
  std::string vocabulary = R"({"model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0)";
  for (int id = 1; id < 30000; ++id) absl::StrAppend(&vocabulary, ", \"word", id, "\": ", id);
  vocabulary += R"(}}, "pre_tokenizer": {"type": "Whitespace"}, "added_tokens": [{"id": 30000, "content": "</s>", )"
                R"("special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}]})";
  ASSERT_GT(vocabulary.size(), 512 << 10);
  ASSERT_TRUE(write_file_atomically(own + "/tokenizer.json", vocabulary).ok());
  ASSERT_TRUE(write_file_atomically(own + "/tokenizer_config.json", R"({"eos_token": "</s>"})").ok());
  ASSERT_TRUE(write_file_atomically(own + "/model.safetensors", "weights").ok());
  const std::string file = service_.job_file("far", 6, 1);
  const std::vector<std::string> with = {"submit", file, "--set", "tokenizer=" + own};
  const CommandResult without = elsewhere(with);
  EXPECT_EQ(without.exit.code, 1);
  EXPECT_TRUE(absl::StrContains(without.err, "it is on this machine: --attach tokenizer sends it with the job"))
      << without.err;
  std::vector<std::string> attached = with;
  attached.insert(attached.end(), {"--attach", "tokenizer", "--wait", "-o", "json"});
  const CommandResult made = elsewhere(attached);
  ASSERT_EQ(made.exit.code, 0) << made.err;
  service_.remember_trainers();
  const Json record = Json::parse(made.out, nullptr, false);
  EXPECT_EQ(record.value("state", ""), "SUCCEEDED") << made.out;
  const std::string folder = record["folder"].get<std::string>() + "/attached/tokenizer";
  EXPECT_EQ(record["job"]["tokenizer"], folder);
  EXPECT_EQ(read_file(folder + "/tokenizer.json").value_or(""), vocabulary);
  EXPECT_FALSE(std::filesystem::exists(folder + "/model.safetensors"));
  for (const auto& [key, said] : {std::pair("model.source", "--attach model.source: the job names no file there"),
                                  std::pair("data.train", "--attach: data.train not in {")}) {
    const CommandResult refused = elsewhere({"submit", file, "--attach", key});
    EXPECT_NE(refused.exit.code, 0);
    EXPECT_TRUE(absl::StrContains(refused.err, said)) << refused.err;
  }
}

TEST_F(Inputs, AWorkerThatStopsMeanwhileIsReplaced) {
  service_.start_worker("a");
  service_.start_worker("b");
  // Until its lease is over it is taken for ready.
  service_.signal("a", SIGSTOP);
  const CommandResult made = elsewhere({"submit", service_.job_file("far", 6, 1), "--dry-run"});
  EXPECT_EQ(made.exit.code, 0) << made.err;
  service_.signal("a", SIGCONT);
}

}  // namespace
}  // namespace galleon
