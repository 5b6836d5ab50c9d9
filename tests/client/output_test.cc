#include "client/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "galleon/v1/jobs.pb.h"

namespace galleon {
namespace {

using Json = nlohmann::json;

TEST(HumanBytes, UseTheLargestUnitBelowThem) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.00 KiB");
  EXPECT_EQ(human_bytes(412.0 * (1 << 20)), "412 MiB");
  EXPECT_EQ(human_bytes(1.5 * (1 << 30)), "1.50 GiB");
  EXPECT_EQ(human_bytes(24.25 * (1 << 30)), "24.2 GiB");
  EXPECT_EQ(human_bytes(5e18), "4441 PiB");
}

TEST(HumanBytes, NeverRoundUpToTheNextUnitsNumber) {
  EXPECT_EQ(human_bytes(1024.0 * 1024 - 1), "1.00 MiB");
  EXPECT_EQ(human_bytes(9.999 * 1024), "10.0 KiB");
  EXPECT_EQ(human_bytes(99.99 * 1024), "100 KiB");
}

TEST(HumanCount, KeepsThreeOrFourFigures) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1500), "1.5k");
  EXPECT_EQ(human_count(58'100'000), "58.1M");
  EXPECT_EQ(human_count(134e6), "134M");
  EXPECT_EQ(human_count(999'999), "1.0M");
}

TEST(HumanDuration, HasTwoUnitsAtMost) {
  EXPECT_EQ(human_duration(-3), "0 s");
  EXPECT_EQ(human_duration(42.4), "42 s");
  EXPECT_EQ(human_duration(59.6), "1 min 0 s");
  EXPECT_EQ(human_duration(190), "3 min 10 s");
  EXPECT_EQ(human_duration(7500), "2 h 5 min");
  EXPECT_EQ(human_duration(90000), "1 d 1 h");
}

TEST(HumanAge, OfATimeThatWasNeverSetIsADash) {
  EXPECT_EQ(human_age(0, 1000), "-");
  EXPECT_EQ(human_age(1000, 43000), "42 s");
}

TEST(Table, ColumnsAreAsWideAsTheirWidestCell) {
  EXPECT_EQ(table({"JOB", "STATE"}, {{"a-long-name", "RUNNING"}, {"b", "QUEUED"}}),
            "JOB          STATE\n"
            "a-long-name  RUNNING\n"
            "b            QUEUED\n");
}

TEST(Table, CountsCharactersAndNotBytes) {
  EXPECT_EQ(table({"A", "B"}, {{"é€", "1"}, {"xyz", "2"}}), "A    B\né€   1\nxyz  2\n");
}

TEST(Table, HasNoBlanksAtTheEndOfALineAndNoLineForAnEmptyHeader) {
  EXPECT_EQ(table({"", ""}, {{"state", "QUEUED"}, {"message", ""}}), "state    QUEUED\nmessage\n");
}

TEST(JsonOutput, HasSnakeCaseNamesAndEveryField) {
  v1::JobRecord record;
  record.set_job_id("a-1");
  record.set_state(v1::JobRecord::RUNNING);
  record.mutable_progress()->set_total_steps(7);
  const Json json = Json::parse(to_json(record));
  EXPECT_EQ(json["job_id"], "a-1");
  EXPECT_EQ(json["state"], "RUNNING");
  EXPECT_EQ(json["queue_position"], 0) << "a field at its default is there too";
  EXPECT_EQ(json["progress"]["total_steps"], "7") << "64-bit numbers are strings in protobuf's JSON";
}

TEST(JsonOutput, HasTheWordsOfTheJobFile) {
  v1::JobRecord record;
  record.set_state(v1::JobRecord::RUNNING);
  record.mutable_job()->set_task(v1::TASK_PRETRAIN);
  record.mutable_job()->mutable_optimizer()->set_rule(v1::Optimizer::RULE_ADAM8BIT);
  const Json json = Json::parse(to_json(record));
  EXPECT_EQ(json["job"]["task"], "pretrain");
  EXPECT_EQ(json["job"]["optimizer"]["rule"], "adam8bit");
  EXPECT_EQ(json["state"], "RUNNING");
  record.mutable_job()->clear_task();
  EXPECT_TRUE(Json::parse(to_json(record))["job"]["task"].is_null());
}

TEST(JsonOutput, SaysTheSameInTheSameOrderEachTime) {
  std::string first;
  for (int time = 0; time < 20; ++time) {
    v1::JobRecord record;
    auto& labels = *record.mutable_job()->mutable_scheduling()->mutable_labels();
    for (int i = 0; i < 20; ++i) labels[absl::StrCat("label-", (i * 7 + time) % 20)] = "x";
    const std::string json = to_json(record);
    if (first.empty()) first = json;
    EXPECT_EQ(json, first);
  }
  EXPECT_LT(first.find("\"name\""), first.find("\"state\"")) << "fields stay in their order";
}

TEST(JsonOutput, EscapesWhatATerminalObeysAndKeepsWhatItSays) {
  v1::JobRecord record;
  record.set_message("\x1b[2J \x7f \xc2\x9b café");
  const std::string text = to_json(record);
  for (const char* obeyed : {"\x1b", "\x7f", "\xc2\x9b"}) EXPECT_THAT(text, testing::Not(testing::HasSubstr(obeyed)));
  EXPECT_EQ(Json::parse(text)["message"], record.message());
}

TEST(YamlOutput, SaysTheSameAsTheJson) {
  v1::JobRecord record;
  record.set_job_id("a-1");
  record.set_message("waits: \"for\" 2 slots\nof 3 # not a comment");
  record.mutable_job()->mutable_scheduling()->mutable_labels()->insert({"rack", "7"});
  const YAML::Node yaml = YAML::Load(to_yaml(to_json(record)));
  EXPECT_EQ(yaml["job_id"].as<std::string>(), "a-1");
  EXPECT_EQ(yaml["message"].as<std::string>(), record.message());
  EXPECT_EQ(yaml["job"]["scheduling"]["labels"]["rack"].as<std::string>(), "7");
}

TEST(YamlOutput, TextThatLooksLikeSomethingElseStaysText) {
  const std::string yaml =
      to_yaml(R"({"a": "null", "b": "true", "c": "1e5", "d": "", "e": 3, "f": true, "g": "yes", "h": "plain words"})");
  EXPECT_THAT(yaml, testing::HasSubstr("a: \"null\"\n"));
  EXPECT_THAT(yaml, testing::HasSubstr("b: \"true\"\n"));
  EXPECT_THAT(yaml, testing::HasSubstr("c: \"1e5\"\n"));
  EXPECT_THAT(yaml, testing::HasSubstr("d: \"\"\n"));
  EXPECT_THAT(yaml, testing::HasSubstr("e: 3\n"));
  EXPECT_THAT(yaml, testing::HasSubstr("f: true\n"));
  EXPECT_THAT(yaml, testing::HasSubstr("g: \"yes\"\n"));
  EXPECT_THAT(yaml, testing::HasSubstr("h: plain words\n"));
}

TEST(YamlOutput, IsInBlockStyle) {
  EXPECT_EQ(to_yaml(R"([{"a": 1, "b": [2, 3]}])"), "- a: 1\n  b:\n    - 2\n    - 3\n");
}

}  // namespace
}  // namespace galleon
