#include "worker/engine/data/chat/turns.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/json_depth.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/chat/row_fields.h"

namespace galleon {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::string_view kUsers[] = {"user", "human", "prompter"};
constexpr absl::string_view kAssistants[] = {"assistant", "gpt",  "model", "bot",    "chatgpt", "chatbot",
                                             "ai",        "bing", "bard",  "claude", "gpt4",    "gpt-4"};
constexpr absl::string_view kResults[] = {"tool",          "observation", "function_response",
                                          "tool_response", "tool_result", "function_result"};
constexpr absl::string_view kCalls[] = {"function_call", "tool_call"};
// Of messages, as models' templates know them.
constexpr absl::string_view kOthers[] = {"developer", "function", "ipython"};
// Fields of a turn that say whether it is learnt, and those that say the contrary.
constexpr absl::string_view kLearnt[] = {"weight",    "train", "training",    "trained",
                                         "trainable", "loss",  "loss_weight", "loss_scale"};
constexpr absl::string_view kMasked[] = {"mask", "masked"};
// What a turn may hold besides text, and nothing here reads.
constexpr absl::string_view kOtherMedia[] = {"image",  "images", "video",        "videos",         "audio",
                                             "audios", "files",  "train_detail", "training_detail"};
constexpr absl::string_view kReasoning[] = {"reasoning_content", "thinking", "reasoning"};

template <size_t N>
bool one_of(absl::string_view word, const absl::string_view (&words)[N]) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

absl::Status wrong(const std::string& what) {
  return absl::InvalidArgumentError(what);
}

bool mentions(const std::string& text, const std::string& word) {
  return !word.empty() && (absl::StrContains(text, absl::StrCat("'", word, "'")) ||
                           absl::StrContains(text, absl::StrCat("\"", word, "\"")));
}

// A message's role. What is no usual one is the template's to know, as in transformers.
absl::StatusOr<std::string> role_of_message(const std::string& role, const TemplateTraits& traits) {
  const std::string usual = usual_role(role);
  if (!usual.empty()) return usual;
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(role));
  if (one_of(lower, kResults) || one_of(lower, kOthers) || one_of(lower, kCalls)) return lower;
  if (mentions(traits.text, role)) return role;
  return wrong(absl::StrCat("the role \"", role,
                            "\" is unknown; accepted are system, user (human), assistant (gpt, model, bot, chatgpt), "
                            "tool, developer, and those that the chat template names"));
}

absl::StatusOr<std::string> role_of_turn(const std::string& from) {
  const std::string usual = usual_role(from);
  if (!usual.empty()) return usual;
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(from));
  if (one_of(lower, kResults)) return std::string("tool");
  if (one_of(lower, kCalls)) return lower;
  return wrong(absl::StrCat("\"from\": \"", from,
                            "\" is unknown; accepted are human (user), gpt (assistant, model, bot, chatgpt), system, "
                            "function_call, and observation (tool, function_response)"));
}

absl::StatusOr<Json> parsed(absl::string_view field, const std::string& text) {
  if (nested_too_deeply(text)) return wrong(absl::StrCat("\"", field, "\" is nested too deeply"));
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return wrong(absl::StrCat("\"", field, "\" is a text that is not JSON"));
  return json;
}

// {"name": …, "arguments": …} of ShareGPT's function_call, or a list of them, as tool calls.
absl::StatusOr<Json> calls_of_text(const std::string& text) {
  ASSIGN_OR_RETURN(Json json, parsed("function_call", text));
  if (json.is_object()) json = Json::array({json});
  Json calls = Json::array();
  for (const Json& one : json) {
    if (!one.is_object() || !one.contains("name"))
      return wrong("a function_call holds no {\"name\": …, \"arguments\": …}");
    calls.push_back({{"type", "function"}, {"function", one}});
  }
  return calls;
}

absl::Status check_part(const Json& part) {
  if (!part.is_object() || !part.contains("type") || !part["type"].is_string())
    return wrong("\"content\" is a list of something else than parts with a \"type\"");
  const std::string& type = part["type"].get_ref<const std::string&>();
  if (type != "text")
    return wrong(absl::StrCat("\"content\" has a part of the type \"", type, "\"; text alone can be trained on"));
  if (!part.contains("text") || !part["text"].is_string()) return wrong("a part of \"content\" has no \"text\"");
  if (part.contains("weight")) return wrong("a part of \"content\" has a \"weight\"; whole turns alone can have one");
  return absl::OkStatus();
}

absl::StatusOr<Json> content_of(const Json& content, const std::string& role, const TemplateTraits& traits) {
  if (content.is_string()) return content;
  const bool answers_call = role != "user" && role != "assistant" && role != "system";
  if (content.is_object() && answers_call) return content;
  if (!content.is_array())
    return wrong(
        absl::StrCat("\"content\" is of the type ", content.type_name(), "; a text or a list of parts is needed"));
  std::string text;
  for (const Json& part : content) {
    if (absl::Status s = check_part(part); !s.ok()) {
      if (answers_call) return content;  // whatever a tool gave back
      return s;
    }
    text += part["text"].get_ref<const std::string&>();
  }
  if (traits.part_roles.count(role) > 0) return content;
  return Json(text);
}

// Takes what says whether the turn is learnt out of it.
absl::Status take_weights(Turn& turn) {
  const bool answer = turn.message["role"] == "assistant";
  for (auto it = turn.message.begin(); it != turn.message.end();) {
    const std::string field = it.key();
    const bool masked = one_of(field, kMasked);
    if (!masked && !one_of(field, kLearnt)) {
      ++it;
      continue;
    }
    ASSIGN_OR_RETURN(bool learnt, is_learnt(field, *it));
    learnt = learnt != masked;
    if (learnt && !answer && !masked) {
      return wrong(absl::StrCat("\"", field, "\" is ", it->dump(), " on a turn of the role ",
                                turn.message["role"].get<std::string>(), "; answers alone are learnt"));
    }
    turn.trained = turn.trained && learnt;
    it = turn.message.erase(it);
  }
  return absl::OkStatus();
}

// Names of what a model thought before it answered, as transformers fill them in.
void alias_reasoning(Json& message) {
  for (const absl::string_view field : kReasoning) {
    const auto found = message.find(std::string(field));
    if (found == message.end()) continue;
    const Json reasoning = *found;
    Json all = {{"thinking", reasoning}};
    for (auto it = message.begin(); it != message.end(); ++it) all[it.key()] = *it;
    all["reasoning_content"] = reasoning;
    message = std::move(all);
    return;
  }
}

// What comes after role and content, the same in both spellings.
absl::Status finish(Turn& turn) {
  Json& message = turn.message;
  for (const absl::string_view field : kOtherMedia) {
    const auto found = message.find(std::string(field));
    if (found == message.end()) continue;
    if (!says_nothing(*found)) return wrong(absl::StrCat("\"", field, "\" cannot be trained on"));
    message.erase(found);
  }
  if (const auto calls = message.find("tool_calls"); calls != message.end()) {
    ASSIGN_OR_RETURN(Json list, list_of_objects("tool_calls", *calls));
    *calls = std::move(list);
  }
  const auto filled = [&](const char* field) { return message.contains(field) && !says_nothing(message[field]); };
  if (!message.contains("content") && !filled("tool_calls") && !filled("function_call"))
    return wrong("has no \"content\"");
  alias_reasoning(message);
  return take_weights(turn);
}

// A turn with the fields `whose` and `what` for role and content.
absl::StatusOr<Turn> read_turn(const Json& given, const char* whose, const char* what, const TemplateTraits& traits) {
  if (!given[whose].is_string()) return wrong(absl::StrCat("its \"", whose, "\" is no text"));
  const std::string said = given[whose].get<std::string>();
  const bool sharegpt = std::string(whose) == "from";
  ASSIGN_OR_RETURN(std::string role, sharegpt ? role_of_turn(said) : role_of_message(said, traits));
  const bool calls = one_of(role, kCalls) && !mentions(traits.text, role);
  Turn turn;
  turn.message = {{"role", calls ? "assistant" : role}};
  for (auto it = given.begin(); it != given.end(); ++it) {
    if (it.key() == whose || it->is_null()) continue;
    if (it.key() != what) {
      turn.message[it.key()] = *it;
    } else if (calls && it->is_string()) {
      ASSIGN_OR_RETURN(turn.message["tool_calls"], calls_of_text(it->get_ref<const std::string&>()));
    } else {
      ASSIGN_OR_RETURN(turn.message["content"], content_of(*it, role, traits));
    }
  }
  RETURN_IF_ERROR(finish(turn));
  return turn;
}

const Json* text_of_any(const Json& given, std::initializer_list<const char*> fields) {
  for (const char* field : fields) {
    const auto found = given.find(field);
    if (found != given.end() && found->is_string()) return &*found;
  }
  return nullptr;
}

// A question with its answer in one: {"human": …, "assistant": …}, or a list of two texts. Either may be null or empty,
// as where a conversation begins with an answer.
absl::Status read_pair(const Json& given, std::vector<Turn>& turns) {
  const Json* asked = nullptr;
  const Json* answered = nullptr;
  if (given.is_object()) {
    asked = text_of_any(given, {"human", "user"});
    answered = text_of_any(given, {"assistant", "gpt", "bot"});
    for (auto it = given.begin(); it != given.end(); ++it) {
      if (&*it == asked || &*it == answered || says_nothing(*it)) continue;
      return wrong(absl::StrCat("\"", it.key(), "\" is unknown beside a question and its answer"));
    }
  } else if (given.is_array() && given.size() == 2) {
    if (given[0].is_string()) asked = &given[0];
    if (given[1].is_string()) answered = &given[1];
  }
  if (asked == nullptr || answered == nullptr)
    return wrong(
        "it is neither a message with \"role\" and \"content\", a turn with \"from\" and \"value\", nor a pair "
        "of question and answer");
  turns.push_back({{{"role", "user"}, {"content", *asked}}, true});
  turns.push_back({{{"role", "assistant"}, {"content", *answered}}, true});
  return absl::OkStatus();
}

absl::Status read_any(const Json& given, const TemplateTraits& traits, std::vector<Turn>& turns) {
  const bool object = given.is_object();
  const auto filled = [&](const char* field) { return object && given.contains(field) && !given[field].is_null(); };
  if (!filled("role") && !filled("from")) {
    if (filled("content")) return wrong("has no \"role\"");
    if (filled("value")) return wrong("has no \"from\"");
    return read_pair(given, turns);
  }
  if (filled("role") && filled("from")) return wrong("has both \"role\" and \"from\"");
  if (filled("content") && filled("value")) return wrong("has both \"content\" and \"value\"");
  const char* whose = filled("role") ? "role" : "from";
  const char* what = filled("value") ? "value" : "content";
  ASSIGN_OR_RETURN(Turn turn, read_turn(given, whose, what, traits));
  turns.push_back(std::move(turn));
  return absl::OkStatus();
}

}  // namespace

std::string usual_role(absl::string_view role) {
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(role));
  if (one_of(lower, kUsers)) return "user";
  if (one_of(lower, kAssistants)) return "assistant";
  return lower == "system" ? lower : "";
}

absl::StatusOr<bool> is_learnt(absl::string_view field, const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number() && (value.get<double>() == 0 || value.get<double>() == 1)) return value.get<double>() == 1;
  return wrong(absl::StrCat("\"", field, "\" is ", value.dump(-1, ' ', false, Json::error_handler_t::replace),
                            "; 0 (read, and not learnt) and 1 are accepted"));
}

absl::StatusOr<Json> list_of_objects(absl::string_view field, const Json& value) {
  Json list = value;
  if (value.is_string()) {
    ASSIGN_OR_RETURN(list, parsed(field, value.get_ref<const std::string&>()));
  }
  if (!list.is_array()) return wrong(absl::StrCat("\"", field, "\" is no list"));
  for (Json& one : list) {
    if (one.is_string()) {
      ASSIGN_OR_RETURN(one, parsed(field, one.get<std::string>()));
    }
    if (!one.is_object()) return wrong(absl::StrCat("\"", field, "\" is a list of something else than objects"));
  }
  return list;
}

absl::StatusOr<std::vector<Turn>> turns_of(const Json& list, const TemplateTraits& traits) {
  std::vector<Turn> turns;
  for (size_t i = 0; i < list.size(); ++i) {
    const absl::Status read = read_any(list[i], traits, turns);
    if (read.ok()) continue;
    const bool goes_on = absl::StartsWith(read.message(), "has ");
    return wrong(absl::StrCat("message ", i + 1, goes_on ? " " : ": ", read.message()));
  }
  return turns;
}

}  // namespace galleon
