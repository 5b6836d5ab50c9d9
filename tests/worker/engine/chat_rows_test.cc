// Rows of conversations: each field that means something is honoured, as transformers do, or refused by name.
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "tests/worker/engine/python_packages.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/chat/chat_tokens.h"
#include "worker/engine/data/corpus.h"

namespace galleon {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

Json recorded_rows() {
  std::ifstream file(GALLEON_SOURCE_DIR "/tests/fixtures/chat_rows.json");
  return Json::parse(file);
}

// The text of a row under a template, with or without the prompt for an answer; or why there is none.
std::string written(const ChatTemplate& chat_template, const ChatFormat& format, const Json& row, bool prompts) {
  absl::StatusOr<Conversation> conversation = read_conversation(row, "f:1", format.traits());
  if (!conversation.ok()) return std::string(conversation.status().message());
  absl::StatusOr<RenderedChat> made = chat_template.render({{"messages", conversation->messages},
                                                            {"tools", conversation->tools},
                                                            {"documents", nullptr},
                                                            {"bos_token", "<s>"},
                                                            {"eos_token", "</s>"},
                                                            {"add_generation_prompt", prompts}});
  return made.ok() ? made->text : std::string(made.status().message());
}

TEST(ChatRows, AreWrittenAsTransformersRecorded) {
  const std::unique_ptr<Tokenizer> tokenizer = *open_tokenizer("bytes");
  const Json recorded = recorded_rows();
  ASSERT_GE(recorded["templates"].size(), 8U);
  for (const Json& c : recorded["cases"]) {
    const std::string source = recorded["templates"][c["family"].get<std::string>()].get<std::string>();
    const Json& row = recorded["rows"][c["row"].get<std::string>()];
    SCOPED_TRACE(c["family"].get<std::string>() + ": " + c["row"].get<std::string>());
    absl::StatusOr<ChatTemplate> parsed = ChatTemplate::parse(source, "template");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    const ChatFormat format(*parsed, source, *tokenizer);
    if (c.contains("error")) {
      EXPECT_THAT(written(*parsed, format, row, false), HasSubstr("items needs a map"));
      continue;
    }
    EXPECT_EQ(written(*parsed, format, row, false), c["texts"][0].get<std::string>());
    EXPECT_EQ(written(*parsed, format, row, true), c["texts"][1].get<std::string>());
  }
}

TEST(ChatRows, TheRecordIsWhatTransformersSayToday) {
  if (!python_has("transformers, jinja2"))
    GTEST_SKIP() << python() << " has no transformers and jinja2; GALLEON_PYTHON names another";
  const TestFolder folder;
  const std::string out = folder.path() + "/rows.json";
  ASSERT_EQ(
      std::system(
          (python() + " " GALLEON_SOURCE_DIR "/tests/fixtures/make_chat_rows.py >" + out + " 2>/dev/null").c_str()),
      0);
  std::ifstream file(out);
  Json made = Json::parse(file, nullptr, false);
  if (made["transformers"] != "5") GTEST_SKIP() << "the record is of transformers 5";
  EXPECT_EQ(made["cases"], recorded_rows()["cases"]);
}

// What a row becomes under a preset: the roles and texts, or the refusal. Answers that are not learnt are in brackets.
std::string read_as(const char* row) {
  absl::StatusOr<Conversation> made = read_conversation(Json::parse(row), "f:1");
  if (!made.ok()) return std::string(made.status().message());
  std::string text;
  for (size_t i = 0; i < made->messages.size(); ++i) {
    const Json& m = made->messages[i];
    const bool off = m["role"] == "assistant" && !made->trained[i];
    const std::string said = m.contains("content") ? m["content"].dump() : m["tool_calls"].dump();
    absl::StrAppend(&text, off ? "(" : "", m["role"].get<std::string>(), "=", said, off ? ")" : "", ";");
  }
  if (!made->tools.is_null()) absl::StrAppend(&text, "tools=", made->tools.dump());
  return made->counts ? text : absl::StrCat("weight 0: ", text);
}

struct RowCase {
  const char* row;
  const char* wanted;  // the whole, or with "…" in front a part of it
};

void check_rows(const std::vector<RowCase>& cases) {
  for (const RowCase& c : cases) {
    const std::string wanted = c.wanted;
    if (absl::string_view part = wanted; absl::ConsumePrefix(&part, "…")) {
      EXPECT_THAT(read_as(c.row), HasSubstr(std::string(part))) << c.row;
    } else {
      EXPECT_EQ(read_as(c.row), wanted) << c.row;
    }
  }
}

TEST(ChatRows, UsualSpellingsAreRead) {
  check_rows({
      {R"({"Question": "q", "Answer": "a"})", R"(user="q";assistant="a";)"},
      {R"({"query": "q", "response": "a"})", R"(user="q";assistant="a";)"},
      {R"({"input": "q", "output": "a"})", R"(user="q";assistant="a";)"},
      {R"({"instruction": "q", "input": "i", "output": "a", "text": "…", "id": 3})", R"(user="q\n\ni";assistant="a";)"},
      {R"({"instruction": "q", "context": "c", "response": "a", "category": "qa"})", R"(user="q\n\nc";assistant="a";)"},
      {R"({"question": "Who?", "context": "Bob is king.", "answer": "Bob"})",
       R"(user="Who?\n\nBob is king.";assistant="Bob";)"},
      {R"({"messages": [{"role": "USER", "content": "q"}, {"role": "Assistant", "content": "a"}]})",
       R"(user="q";assistant="a";)"},
      {R"({"messages": [{"role": "user", "content": "q"}, {"role": "model", "content": "a"}]})",
       R"(user="q";assistant="a";)"},
      {R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "chatgpt", "value": "a"}]})",
       R"(system="s";user="q";assistant="a";)"},
      {R"({"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})",
       R"(user="q";assistant="a";)"},
      {R"({"conversation": [{"human": "q", "assistant": "a"}, {"human": "r", "assistant": "b"}]})",
       R"(user="q";assistant="a";user="r";assistant="b";)"},
      {R"({"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": 2}}"}, {"from": "observation", "value": "o"}, {"from": "gpt", "value": "a"}]})",
       R"(user="q";assistant=[{"type":"function","function":{"name":"f","arguments":{"b":1,"a":2}}}];tool="o";assistant="a";)"},
      {R"({"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "r"}], "completion": [{"role": "assistant", "content": "a"}]})",
       R"(user="q";(assistant="x");user="r";assistant="a";)"},
      {R"({"prompt": "q", "prompt_id": "7", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})",
       R"(user="q";assistant="a";)"},
  });
}

TEST(ChatRows, FieldsBesideTheTurnsAreHonoured) {
  check_rows({
      {R"({"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]})",
       R"(system="s";user="q";assistant="a";)"},
      {R"({"system_prompt": "", "question": "q", "response": "a"})", R"(user="q";assistant="a";)"},
      {R"({"system": "s", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})",
       R"(system="s";user="q";assistant="a";)"},
      {R"({"system": "s", "messages": [{"role": "system", "content": "t"}, {"role": "user", "content": "q"}]})",
       "…f:1: \"system\" differs from the system message"},
      {R"({"instruction": "q", "input": "", "output": "a", "history": [["p", "o"]], "system": "s"})",
       R"(system="s";user="p";assistant="o";user="q";assistant="a";)"},
      {R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "history": [["p", "o"]]})",
       R"(system="s";user="p";assistant="o";user="q";assistant="a";)"},
      {R"({"question": "q", "answer": "a", "history": ["p"]})", "…\"history\", message 1: it is neither a message"},
      {R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x", "weight": 0}, {"role": "user", "content": "r", "weight": 0}, {"role": "assistant", "content": "a", "weight": 1}]})",
       R"(user="q";(assistant="x");user="r";assistant="a";)"},
      {R"({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "x", "train": false}, {"from": "gpt", "value": "a", "train": true}]})",
       R"(user="q";(assistant="x");assistant="a";)"},
      {R"({"question": "q", "answer": "a", "weight": 0})", R"(weight 0: user="q";assistant="a";)"},
      {R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x", "weight": 0.5}]})",
       "…f:1: message 2: \"weight\" is 0.5; 0 (read, and not learnt) and 1 are accepted"},
      {R"({"messages": [{"role": "user", "content": "q", "weight": 1}, {"role": "assistant", "content": "x"}]})",
       "…message 1: \"weight\" is 1 on a turn of the role user; answers alone are learnt"},
      {R"({"question": "q", "answer": "a", "weight": 2})", "…f:1: \"weight\" is 2"},
      {R"({"question": "q", "answer": "a", "tools": "[{\"name\": \"f\", \"b\": 1, \"a\": 2}]"})",
       R"(user="q";assistant="a";tools=[{"name":"f","b":1,"a":2}])"},
      {R"({"question": "q", "answer": "a", "functions": [{"name": "f"}]})",
       R"(user="q";assistant="a";tools=[{"type":"function","function":{"name":"f"}}])"},
      {R"({"question": "q", "answer": "a", "tools": ""})", R"(user="q";assistant="a";)"},
      {R"({"question": "q", "answer": "a", "tools": "none"})", "…f:1: \"tools\" is a text that is not JSON"},
      {R"({"question": "q", "answer": "a", "tools": {"name": "f"}})", "…f:1: \"tools\" is no list"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "you"}]}, {"role": "assistant", "content": "a"}]})",
       R"(user="Hi you";assistant="a";)"},
      {R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": "[{\"function\": {\"name\": \"f\"}}]"}]})",
       R"(user="q";assistant=[{"function":{"name":"f"}}];)"},
  });
}

TEST(ChatRows, WhatIsNotHonouredIsRefusedByName) {
  check_rows({
      {R"({"text": "t", "id": 1})", "…f:1: no conversation; one of \"messages\""},
      {R"({"text": "t", "id": 1})", "…the row has text, id"},
      {R"({"question": "q", "answer": null})", "…the row has question"},
      {R"({"question": "q", "answer": ["a"]})", "…f:1: \"answer\" is of the type array; a text is needed"},
      {R"({"messages": "q"})", "…f:1: \"messages\" is no list of messages"},
      {R"({"messages": [{"role": "wizard", "content": "q"}]})",
       "…f:1: message 1: the role \"wizard\" is unknown; accepted are system, user (human), assistant (gpt, model"},
      {R"({"conversations": [{"from": "narrator", "value": "q"}]})", "…message 1: \"from\": \"narrator\" is unknown"},
      {R"({"messages": [{"role": "user"}]})", "…f:1: message 1 has no \"content\""},
      {R"({"messages": [{"role": "assistant", "content": null}]})", "…f:1: message 1 has no \"content\""},
      {R"({"messages": [{"role": "user", "content": 3}]})", "…message 1: \"content\" is of the type number"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}]})",
       "…message 1: \"content\" has a part of the type \"image_url\"; text alone can be trained on"},
      {R"({"messages": [{"role": "user", "content": "q", "images": ["u"]}]})", "…message 1: \"images\" cannot be"},
      {R"({"prompt": "q", "chosen": "a", "rejected": "b"})", "…no conversation"},
      {R"({"prompt": "q", "completion": "a", "rejected": "b"})", "…f:1: \"rejected\" means something to training"},
      {R"({"prompt": "q", "completion": "a", "label": false})", "…f:1: \"label\" means something"},
      {R"({"question": "q", "answer": "a", "images": ["u"]})", "…f:1: \"images\" means something"},
      {R"({"question": "q", "answer": "a", "images": []})", R"(user="q";assistant="a";)"},
      {R"({"messages": [{"role": "user", "content": "q"}], "context": "c"})",
       "…f:1: \"context\" stands beside the conversation and is no part of it"},
      {R"({"question": "q", "answer": "a", "completion": "b"})", "…f:1: \"completion\" stands beside"},
      {R"({"question": "q", "answer": "a", "system": ["s"]})",
       "…f:1: \"system\" is of the type array; a text is needed"},
      {R"({"question": "q", "answer": "a", "chat_template_kwargs": {"tools": []}})", "…sets tools, which"},
  });
}

TEST(ChatRows, ColumnsThatSayNothingToTrainingAreNamed) {
  std::set<std::string> ignored;
  ASSERT_TRUE(
      read_conversation(Json::parse(R"({"question": "q", "answer": "a", "Source": "s", "id": 1, "score": null})"),
                        "f:1", {}, &ignored)
          .ok());
  EXPECT_THAT(ignored, testing::ElementsAre("Source", "id"));
}

// What the encoder of a job says of a row under one of the named templates.
std::string refused_under(const std::string& preset, const char* row) {
  const std::unique_ptr<Tokenizer> tokenizer = *open_tokenizer("bytes");
  const std::string source = absl::StartsWith(preset, "{") ? preset : *named_chat_template(preset);
  absl::StatusOr<ChatTemplate> parsed = ChatTemplate::parse(source, "template");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  const ChatFormat format(*parsed, source, *tokenizer);
  absl::StatusOr<Conversation> conversation = read_conversation(Json::parse(row), "f:1", format.traits());
  EXPECT_TRUE(conversation.ok()) << conversation.status();
  return std::string(format.encode(*conversation).status().message());
}

TEST(ChatRows, WhatTheTemplatePassesOverIsRefused) {
  EXPECT_EQ(refused_under("chatml", R"({"question": "q", "answer": "a"})"), "");
  EXPECT_EQ(refused_under("chatml", R"({"question": "q", "answer": "a", "tools": [{"name": "f"}]})"),
            "the chat template does not write \"tools\"");
  EXPECT_EQ(refused_under("chatml", R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant",
                                        "content": null, "tool_calls": [{"function": {"name": "f"}}]}]})"),
            "message 2: the chat template does not write the \"tool_calls\" of the role assistant");
  EXPECT_EQ(refused_under("chatml", R"({"question": "q", "answer": "a", "reasoning": "hm"})"),
            "message 2: the chat template does not write the \"reasoning_content\" of the role assistant");
  const std::string without_system = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}";
  EXPECT_EQ(refused_under(without_system, R"({"question": "q", "answer": "a", "system": "q"})"),
            "message 1: the chat template does not write the \"content\" of the role system");
  EXPECT_EQ(refused_under("{% for m in messages %}{{ m.content | upper }}{% endfor %}",
                          R"({"question": "q", "answer": "a", "system": "s"})"),
            "");
}

TEST(ChatRows, ATemplateForToolsIsTakenWhereARowHasSome) {
  const TestFolder folder;
  folder.write("tokenizer_config.json",
               R"({"chat_template": [{"name": "tool_use", "template": "\n T:{{ tools[0].name }}\n"},
                                                              {"name": "default", "template": " D\n "}]})");
  const std::string source = *find_chat_template("", folder.path());
  absl::StatusOr<ChatTemplate> parsed = ChatTemplate::parse(source, "template");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->render({{"tools", {{{"name", "f"}}}}})->text, "\n T:f");
  EXPECT_EQ(parsed->render({{"tools", nullptr}})->text, " D\n ");
}

TEST(ChatRows, ARowOfWeight0IsCountedAndLeftOut) {
  const TestFolder folder;
  const std::unique_ptr<Tokenizer> tokenizer = *open_tokenizer("bytes");
  CorpusRequest r;
  r.options.format = "chat";
  r.options.sequence_length = 64;
  r.globs = {folder.write("c.jsonl",
                          "{\"question\": \"q\", \"answer\": \"xy\", \"id\": 1}\n"
                          "{\"question\": \"r\", \"answer\": \"z\", \"weight\": 0}\n")};
  r.key = "data.train";
  r.tokenizer = tokenizer.get();
  r.vocabulary = 257;
  r.chat_template = *named_chat_template("plain");
  r.folder = folder.path() + "/data";
  r.name = "train";
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  absl::StatusOr<StoreProgress> all = (*corpus)->wait_for_all();
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->sequences, 1);
  EXPECT_THAT((*corpus)->store().notes(), testing::ElementsAre(HasSubstr("c.jsonl:2, which has a weight of 0")));
}

}  // namespace
}  // namespace galleon
