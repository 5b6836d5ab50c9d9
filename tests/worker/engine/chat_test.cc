// Conversations: templates render as Jinja does, and only answers are counted.
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_split.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/chat/chat_template.h"
#include "worker/engine/data/chat/chat_tokens.h"
#include "worker/engine/data/chat/conversation.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/step_feed.h"

namespace galleon {
namespace {

using Json = nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;

Json recorded_cases() {
  std::ifstream file(GALLEON_SOURCE_DIR "/tests/fixtures/chat_templates.json");
  return Json::parse(file)["cases"];
}

TEST(ChatTemplate, RendersWhatJinjaRecorded) {
  const Json cases = recorded_cases();
  ASSERT_GT(cases.size(), 50U);
  for (const Json& c : cases) {
    SCOPED_TRACE(c["name"].get<std::string>());
    absl::StatusOr<ChatTemplate> parsed = ChatTemplate::parse(c["template"].get<std::string>(), "template");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    absl::StatusOr<RenderedChat> rendered = parsed->render(c["variables"]);
    if (c.contains("error")) {
      EXPECT_FALSE(rendered.ok()) << rendered->text;
      continue;
    }
    ASSERT_TRUE(rendered.ok()) << rendered.status();
    EXPECT_EQ(rendered->text, c["text"].get<std::string>());
    EXPECT_EQ(rendered->generated, (c["generated"].get<std::vector<std::pair<size_t, size_t>>>()));
  }
}

TEST(ChatTemplate, NamedOnesAreThoseThatWereRecorded) {
  int found = 0;
  for (const Json& c : recorded_cases()) {
    const std::vector<std::string> name = absl::StrSplit(c["name"].get<std::string>(), absl::ByAnyChar(":,"));
    if (name[0] != "preset") continue;
    absl::StatusOr<std::string> text = named_chat_template(name[1]);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, c["template"].get<std::string>()) << "tests/fixtures/make_chat.py records them again";
    ++found;
  }
  EXPECT_EQ(found, 7 * 4);
  EXPECT_THAT(std::string(named_chat_template("none").status().message()),
              HasSubstr("there is no chat template none; there are chatml, qwen2, llama2, llama3, mistral"));
}

TEST(ChatTemplate, WhatIsNotUnderstoodIsRefusedWithItsLine) {
  const auto parse_error = [](const std::string& source) {
    return std::string(ChatTemplate::parse(source, "t.jinja").status().message());
  };
  EXPECT_THAT(parse_error("a\n{% if x %}"), HasSubstr("t.jinja, line 2: {% endif %} is missing"));
  EXPECT_THAT(parse_error("{{ a"), HasSubstr("line 1: {{ is not closed"));
  EXPECT_THAT(parse_error("{% include 'x' %}"), HasSubstr("{% include %} is not known"));
  EXPECT_THAT(parse_error("{{ a b }}"), HasSubstr("\"}}\" is expected"));
  EXPECT_THAT(parse_error("{% endif %}"), HasSubstr("line 1"));
  EXPECT_THAT(parse_error("{{ 'a }}"), HasSubstr("a string is not closed"));
  EXPECT_THAT(parse_error(std::string(5000, '(')), HasSubstr(""));
  EXPECT_THAT(parse_error("{{ " + std::string(5000, '(') + " }}"), HasSubstr("nested too deeply"));
  EXPECT_THAT(parse_error("{{ " + std::string(5000, '-') + "1 }}"), HasSubstr("nested too deeply"));
  const auto error = [](const std::string& source) {
    absl::StatusOr<ChatTemplate> parsed = ChatTemplate::parse(source, "t.jinja");
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return std::string(parsed->render({{"messages", Json::array()}}).status().message());
  };
  EXPECT_THAT(error("\n{{ 'a' | sparkle }}"), HasSubstr("t.jinja, line 2: the filter sparkle is not known"));
  EXPECT_THAT(error("{{ nothing.here }}"), HasSubstr("nothing is not defined"));
  EXPECT_THAT(error("{{ today() }}"), HasSubstr("the function today is not known"));
  EXPECT_THAT(error("{{ 'a' | tojson(html=true) }}"), HasSubstr("tojson has no argument html"));
  EXPECT_THAT(error("{{ raise_exception('roles') }}"), HasSubstr("the template refuses the conversation: roles"));
  EXPECT_THAT(error("{{ 1 + 'a' }}"), HasSubstr("+ cannot be used between a number and a string"));
  EXPECT_THAT(error("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("calls itself too often"));
  EXPECT_THAT(error("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"),
              HasSubstr("does not come to an end"));
}

// What is counted of a conversation, by the byte tokenizer, whose </s> is one token.
std::vector<std::string> counted(const std::string& source, const Json& messages, std::vector<bool> trained = {}) {
  static const std::unique_ptr<Tokenizer> tokenizer = *open_tokenizer("bytes");
  absl::StatusOr<ChatTemplate> parsed = ChatTemplate::parse(source, "template");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  Conversation conversation;
  conversation.messages = messages;
  for (const Json& m : messages) conversation.trained.push_back(m["role"] == "assistant");
  if (!trained.empty()) conversation.trained = std::move(trained);
  absl::StatusOr<std::vector<ChatTokens>> made = ChatFormat(*parsed, source, *tokenizer).encode(conversation);
  EXPECT_TRUE(made.ok()) << made.status();
  std::vector<std::string> all;
  if (!made.ok()) return all;
  for (const ChatTokens& tokens : *made) {
    std::string text;
    for (size_t i = 0; i < tokens.ids.size(); ++i) {
      const std::string written = tokens.ids[i] == 256 ? "|" : std::string(1, static_cast<char>(tokens.ids[i]));
      text += tokens.counted[i] ? written : ".";
    }
    all.push_back(text);
  }
  return all;
}

const Json kTwoTurns = {{{"role", "user"}, {"content", "a?"}},
                        {{"role", "assistant"}, {"content", "bc"}},
                        {{"role", "user"}, {"content", "d?"}},
                        {{"role", "assistant"}, {"content", "e"}}};

TEST(ChatTokens, AnswersAndTheirEndAreCountedAndNothingElse) {
  // Marked by the template.
  EXPECT_THAT(counted(*named_chat_template("plain"), kTwoTurns),
              ElementsAre(".................... bc|.................... e|"));
  // Found by what an assistant's message adds; the line end behind </s> is the template's.
  const std::string marks =
      "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}</s>\n{% endfor %}"
      "{% if add_generation_prompt %}<a>{% endif %}";
  EXPECT_THAT(counted(marks, kTwoTurns), ElementsAre("..........bc|...........e|."));
  // Without a special token the line end is what ends an answer, and it is counted.
  const std::string plain =
      "{% for m in messages %}{{ m.role[0] }}: {{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}a: {% endif %}";
  EXPECT_THAT(counted(plain, kTwoTurns), ElementsAre(".........bc\n.........e\n"));
  // Nobody answers.
  EXPECT_THAT(counted(plain, Json::array({kTwoTurns[0]})), ElementsAre());
}

TEST(ChatTokens, OfAnswersThatAreNotLearntNothingIsCounted) {
  const std::vector<bool> last = {false, false, false, true};
  EXPECT_THAT(counted(*named_chat_template("plain"), kTwoTurns, last),
              ElementsAre("............................................ e|"));
  const std::string marks =
      "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}</s>\n{% endfor %}"
      "{% if add_generation_prompt %}<a>{% endif %}";
  EXPECT_THAT(counted(marks, kTwoTurns, {false, true, false, false}), ElementsAre("..........bc|."));
  EXPECT_THAT(counted(marks, kTwoTurns, {false, false, false, false}), ElementsAre());
}

TEST(ChatTokens, ATemplateThatShortensEarlierAnswersGivesASequenceForEach) {
  const std::string thinking =
      "{% for m in messages %}{% if m.role == 'user' %}q {{ m.content }}\n{% else %}a "
      "{% if loop.last %}hm {% endif %}{{ m.content }}</s>\n{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}a {% endif %}";
  EXPECT_THAT(counted(thinking, kTwoTurns), ElementsAre(".......hm bc|.", "..................hm e|."));
}

TEST(ChatTokens, ATokenThatBeginsInThePromptIsNotCounted) {
  const char* data = GALLEON_SOURCE_DIR "/../shared/data/tokenizers/openllama";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "no ../shared/data/tokenizers beside the project";
  absl::StatusOr<std::unique_ptr<Tokenizer>> opened = open_tokenizer(data);
  if (absl::IsUnavailable(opened.status())) GTEST_SKIP() << opened.status().message();
  const std::unique_ptr<Tokenizer> tokenizer = *std::move(opened);
  ASSERT_FALSE(tokenizer->marks().empty());
  absl::StatusOr<ChatTemplate> parsed = ChatTemplate::parse(*named_chat_template("llama2"), "template");
  const Conversation conversation{kTwoTurns, {false, true, false, true}, nullptr};
  absl::StatusOr<std::vector<ChatTokens>> made =
      ChatFormat(*parsed, *named_chat_template("llama2"), *tokenizer).encode(conversation);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->size(), 1U);
  const ChatTokens& tokens = (*made)[0];
  EXPECT_EQ(tokens.ids.front(), tokenizer->begin_token());
  EXPECT_EQ(tokens.ids.back(), tokenizer->end_token());
  std::vector<int32_t> answers;
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    if (tokens.counted[i]) answers.push_back(tokens.counted[i] ? tokens.ids[i] : 0);
  }
  // The space behind an answer may become a token of its own; both ends of a turn are there.
  EXPECT_EQ(std::count(answers.begin(), answers.end(), tokenizer->end_token()), 2);
  EXPECT_THAT(tokenizer->decode(answers), testing::MatchesRegex(" ?bc *e *"));
}

TEST(Conversations, AreReadFromTheUsualShapes) {
  const auto roles = [](const char* line) {
    absl::StatusOr<Conversation> made = read_conversation(Json::parse(line), "f:1");
    if (!made.ok()) return std::string(made.status().message());
    std::string text;
    for (const Json& m : made->messages)
      text += m["role"].get<std::string>() + "=" + m["content"].get<std::string>() + ";";
    return text;
  };
  EXPECT_EQ(roles(R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})"),
            "user=q;assistant=a;");
  EXPECT_EQ(roles(R"({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]})"),
            "user=q;assistant=a;");
  EXPECT_EQ(roles(R"({"question": "q", "answer": "a"})"), "user=q;assistant=a;");
  EXPECT_EQ(roles(R"({"system": "s", "prompt": "q", "completion": "a"})"), "system=s;user=q;assistant=a;");
  EXPECT_EQ(roles(R"({"instruction": "q", "input": "i", "output": "a"})"), "user=q\n\ni;assistant=a;");
  EXPECT_THAT(roles(R"({"text": "t"})"), HasSubstr("f:1: no conversation; one of \"messages\""));
  EXPECT_THAT(roles(R"({"messages": [{"content": "q"}]})"), HasSubstr("f:1: message 1 has no \"role\""));
}

class ChatCorpus : public testing::Test {
 protected:
  CorpusRequest request(const std::string& file, int64_t length) {
    CorpusRequest r;
    r.options.format = "chat";
    r.options.sequence_length = length;
    r.options.shuffle = false;
    r.globs = {file};
    r.key = "data.train";
    r.tokenizer = tokenizer_.get();
    r.vocabulary = 257;
    r.chat_template = *named_chat_template("plain");
    r.folder = folder_.path() + "/data";
    r.name = "train";
    return r;
  }
  TestFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = *open_tokenizer("bytes");
};

TEST_F(ChatCorpus, ABatchHasTargetsWhereAnswersAre) {
  const std::string file = folder_.write("c.jsonl",
                                         "{\"question\": \"q\", \"answer\": \"xy\"}\n"
                                         "{\"question\": \"a very long question\", \"answer\": \"z\"}\n");
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(request(file, 24));
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  absl::StatusOr<StoreProgress> all = (*corpus)->wait_for_all();
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->sequences, 1);
  EXPECT_THAT((*corpus)->store().notes(),
              ElementsAre(HasSubstr("c.jsonl:2, which has no answer within data.sequence_length")));
  Sequence s;
  ASSERT_TRUE((*corpus)->store().read(0, s).ok());
  std::string targets;
  for (const int32_t id : s.targets) targets += id < 0 ? '.' : id == 256 ? '|' : static_cast<char>(id);
  EXPECT_EQ(targets, ".................. xy|");
  EXPECT_EQ(*(*corpus)->store().targets(0), 4);
  FeedShape shape;
  shape.global_batch = shape.micro_batch = 1;
  shape.sequence_length = 24;
  StepFeed feed(TrainingOrder((*corpus)->store(), (*corpus)->order()), shape, 1, 1);
  EXPECT_EQ(feed.next()->targets, 4);
}

TEST_F(ChatCorpus, ATemplateSeesTheDateThatTheJobSaysAndAnotherOneIsOtherData) {
  const std::string file = folder_.write("c.jsonl", "{\"question\": \"q\", \"answer\": \"a\"}\n");
  std::set<std::string> fingerprints;
  for (const auto& [date, written] : {std::pair("", "26 Jul 2024"), std::pair("2031-12-01", "01 Dec 2031")}) {
    CorpusRequest r = request(file, 24);
    r.chat_template = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}";
    r.options.template_date = date;
    absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
    ASSERT_TRUE(corpus.ok()) << corpus.status();
    ASSERT_TRUE((*corpus)->wait_for_start().ok());
    Sequence s;
    ASSERT_TRUE((*corpus)->store().read(0, s).ok());
    EXPECT_EQ(std::string(s.ids.begin(), s.ids.begin() + 11), written);
    fingerprints.insert((*corpus)->fingerprint());
  }
  EXPECT_EQ(fingerprints.size(), 2U);
}

TEST_F(ChatCorpus, WhatTheTemplateRefusesIsNamedWithFileAndLine) {
  CorpusRequest r = request(folder_.write("bad.jsonl",
                                          "{\"question\": \"q\", \"answer\": \"a\"}\n{\"messages\": "
                                          "[{\"role\": \"assistant\", \"content\": \"a\"}]}\n"),
                            24);
  r.chat_template = *named_chat_template("llama2");
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_THAT(std::string((*corpus)->wait_for_start().status().message()),
              HasSubstr("bad.jsonl:2: the chat template, line 8: the template refuses the conversation: user and "
                        "assistant must take turns"));
}

TEST_F(ChatCorpus, ATemplateComesFromTheJobOrTheTokenizersFolder) {
  const auto message = [](const absl::StatusOr<std::string>& text) { return std::string(text.status().message()); };
  EXPECT_EQ(*find_chat_template("preset:plain", "bytes"), *named_chat_template("plain"));
  EXPECT_EQ(*find_chat_template(folder_.write("own.jinja", "own"), "bytes"), "own");
  EXPECT_THAT(message(find_chat_template("", "bytes")), HasSubstr("bytes brings no chat template"));
  EXPECT_THAT(message(find_chat_template("preset:x", "bytes")),
              HasSubstr("data.chat_template: there is no chat template x"));
  const std::string folder = folder_.path() + "/tokenizer";
  ASSERT_TRUE(make_folders(folder).ok());
  EXPECT_THAT(message(find_chat_template("", folder)), HasSubstr("brings no chat template"));
  folder_.write("tokenizer/tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "listed"}]})");
  EXPECT_EQ(*find_chat_template("", folder), "listed");
  folder_.write("tokenizer/tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(*find_chat_template("", folder + "/tokenizer.json"), "config");
  folder_.write("tokenizer/chat_template.jinja", "file");
  EXPECT_EQ(*find_chat_template("", folder), "file");
}

// The questions of gsm8k with a tokenizer of words: what is counted of a line is its answer, and no token of the
// question.
TEST_F(ChatCorpus, OfGsm8kTheAnswersAloneAreCounted) {
  const std::string data = GALLEON_SOURCE_DIR "/../shared/data/gsm8k/train.jsonl";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "no ../shared/data/gsm8k beside the project";
  absl::StatusOr<std::unique_ptr<Tokenizer>> opened =
      open_tokenizer(GALLEON_SOURCE_DIR "/deploy/examples/janeausten/tokenizer.model");
  if (absl::IsUnavailable(opened.status())) GTEST_SKIP() << opened.status().message();
  tokenizer_ = *std::move(opened);
  CorpusRequest r = request(data, 2048);
  r.vocabulary = tokenizer_->vocabulary();
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  absl::StatusOr<StoreProgress> all = (*corpus)->wait_for_all();
  ASSERT_TRUE(all.ok()) << all.status();
  std::ifstream file(data);
  int64_t compared = 0;
  int64_t at = 0;
  Sequence s;
  for (std::string line; std::getline(file, line) && compared < 500; ++at) {
    const nlohmann::json json = nlohmann::json::parse(line);
    const std::string answer = " " + json["answer"].get<std::string>();
    std::vector<int32_t> whole;
    tokenizer_->encode_marked("Question: " + json["question"].get<std::string>() + "\nAnswer:" + answer + "</s>",
                              whole);
    if (whole.size() > 2049) break;  // from here on the numbers of lines and sequences may differ
    ASSERT_TRUE((*corpus)->store().read(at, s).ok());
    ASSERT_EQ(s.ids, std::vector<int32_t>(whole.begin(), whole.end() - 1)) << line;
    std::vector<int32_t> counted;
    for (const int32_t target : s.targets) {
      if (target >= 0) counted.push_back(target);
    }
    // They are the last ones, and they say the answer.
    ASSERT_EQ(counted, std::vector<int32_t>(whole.end() - static_cast<int64_t>(counted.size()), whole.end())) << line;
    ASSERT_EQ(counted.back(), tokenizer_->end_token());
    counted.pop_back();
    std::vector<int32_t> alone;
    tokenizer_->encode(answer.substr(1), alone);
    ASSERT_EQ(tokenizer_->decode(counted), tokenizer_->decode(alone)) << line;
    ++compared;
  }
  EXPECT_GT(compared, 100);
}

TEST_F(ChatCorpus, FineTuningLearnsTheAnswersAlone) {
  std::string lines;
  for (int i = 0; i < 40; ++i)
    lines += absl::StrCat("{\"question\": \"", i * 7919 % 1000, "?\", \"answer\": \"", "even", "\"}\n");
  RunOptions o = tiny_run(folder_);
  o.data.train = {folder_.write("qa.jsonl", lines)};
  o.data.validation = o.data.train;
  o.data.format = "chat";
  o.data.chat_template = "preset:plain";
  o.steps = 60;
  o.evaluate_every = 60;
  const RankOutcome run = run_ranks(o, 1, folder_.path() + "/run")[0];
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  // A constant answer is learnt to almost nothing, which the numbers in the questions would prevent.
  EXPECT_LT(run.observer.evaluations.back().validation_loss, 0.3);
  EXPECT_EQ(run.observer.evaluations.back().validation_tokens, 40 * 6);
  // Whoever loads the checkpoint gets the template with it.
  EXPECT_EQ(*read_file(o.checkpoint_folder + "/step-00000060/chat_template.jinja"), *named_chat_template("plain"));
}

}  // namespace
}  // namespace galleon
