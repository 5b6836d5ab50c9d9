#include "worker/engine/data/chat/conversation.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/json_depth.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/chat/row_fields.h"

namespace galleon {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kLists[] = {"messages", "conversations", "conversation"};
constexpr std::pair<const char*, const char*> kPairs[] = {
    {"prompt", "completion"},    {"prompt", "response"},    {"prompt", "answer"},   {"prompt", "output"},
    {"question", "answer"},      {"question", "response"},  {"question", "output"}, {"instruction", "output"},
    {"instruction", "response"}, {"instruction", "answer"}, {"query", "response"},  {"query", "answer"},
    {"query", "output"},         {"input", "output"},       {"user", "assistant"},  {"human", "assistant"}};
constexpr const char* kSystem[] = {"system", "system_prompt", "system_message"};
constexpr const char* kWeights[] = {"weight", "sample_weight", "loss_weight"};
constexpr const char* kTools[] = {"tools", "functions"};
constexpr const char* kReasoning[] = {"reasoning_content", "thinking", "reasoning"};
// Parts of a conversation: where one is left over, the row says more than what was read of it.
constexpr const char* kParts[] = {"messages",
                                  "conversations",
                                  "conversation",
                                  "prompt",
                                  "completion",
                                  "question",
                                  "answer",
                                  "instruction",
                                  "output",
                                  "response",
                                  "query",
                                  "input",
                                  "context",
                                  "history",
                                  "user",
                                  "human",
                                  "assistant",
                                  "suffix",
                                  "reasoning_content",
                                  "thinking",
                                  "reasoning"};
// What other trainers read, and this one does not.
constexpr const char* kRefused[] = {"chosen",     "rejected",        "chosen_response", "rejected_response",
                                    "kto_tag",    "image",           "images",          "video",
                                    "videos",     "audio",           "audios",          "documents",
                                    "input_ids",  "assistant_masks", "completion_mask", "loss_mask",
                                    "tool_choice"};

absl::Status wrong(const std::string& what) {
  return absl::InvalidArgumentError(what);
}

bool deeper_than(const Json& value, int levels) {
  if (!value.is_structured()) return false;
  return levels == 0 ||
         std::any_of(value.begin(), value.end(), [&](const Json& one) { return deeper_than(one, levels - 1); });
}

template <typename Words>
bool one_of(const std::string& word, const Words& words) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

// The one of some columns that stands for the same thing; null: none. INVALID_ARGUMENT: two of them.
template <typename Words>
absl::StatusOr<std::pair<const char*, const Json*>> take_one(RowFields& fields, const Words& words) {
  std::pair<const char*, const Json*> found{nullptr, nullptr};
  for (const char* word : words) {
    const Json* value = fields.take(word);
    if (value == nullptr) continue;
    if (found.second != nullptr && *found.second != *value)
      return wrong(absl::StrCat("\"", found.first, "\" and \"", word, "\" say two things"));
    found = {word, value};
  }
  return found;
}

absl::StatusOr<std::string> text_column(const char* name, const Json& value) {
  if (!value.is_string())
    return wrong(absl::StrCat("\"", name, "\" is of the type ", value.type_name(), "; a text is needed"));
  return value.get<std::string>();
}

std::vector<std::string> names_of(const std::vector<RowFields::Rest>& rest) {
  std::vector<std::string> names;
  for (const RowFields::Rest& one : rest) names.push_back(one.name);
  return names;
}

class RowReader {
 public:
  RowReader(const Json& row, const TemplateTraits& traits) : fields_(row), traits_(traits) {}

  absl::StatusOr<Conversation> run(std::set<std::string>* ignored) {
    RETURN_IF_ERROR(read_turns());
    RETURN_IF_ERROR(read_history());
    RETURN_IF_ERROR(read_system());
    RETURN_IF_ERROR(read_reasoning());
    RETURN_IF_ERROR(read_tools());
    RETURN_IF_ERROR(read_weight());
    RETURN_IF_ERROR(read_variables());
    for (Turn& turn : turns_) {
      made_.trained.push_back(turn.trained && turn.message["role"] == "assistant");
      made_.messages.push_back(std::move(turn.message));
    }
    RETURN_IF_ERROR(check_rest(ignored));
    return std::move(made_);
  }

 private:
  absl::Status read_turns() {
    for (const char* name : kLists) {
      const Json* list = fields_.take(name);
      if (list == nullptr) continue;
      if (!list->is_array() || list->empty()) return wrong(absl::StrCat("\"", name, "\" is no list of messages"));
      ASSIGN_OR_RETURN(turns_, turns_of(*list, traits_));
      return absl::OkStatus();
    }
    for (const auto& [asked, answered] : kPairs) {
      if (!fields_.has(asked) || !fields_.has(answered)) continue;
      pair_ = true;
      return read_pair(asked, *fields_.take(asked), answered, *fields_.take(answered));
    }
    std::string there;
    for (const std::string& name : names_of(fields_.rest())) absl::StrAppend(&there, there.empty() ? "" : ", ", name);
    return wrong(
        absl::StrCat("no conversation; one of \"messages\", \"conversations\", \"prompt\" with \"completion\", "
                     "\"question\" with \"answer\", \"instruction\" with \"output\" is needed; the row has ",
                     there.empty() ? "nothing" : there));
  }

  absl::Status read_pair(const char* asked, const Json& question, const char* answered, const Json& answer) {
    if (question.is_array() && answer.is_array()) {
      ASSIGN_OR_RETURN(turns_, turns_of(question, traits_));
      ASSIGN_OR_RETURN(std::vector<Turn> answers, turns_of(answer, traits_));
      for (Turn& turn : turns_) turn.trained = false;
      std::move(answers.begin(), answers.end(), std::back_inserter(turns_));
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(std::string text, text_column(asked, question));
    ASSIGN_OR_RETURN(std::string answer_text, text_column(answered, answer));
    for (const char* more : {"input", "context"}) {
      const Json* value = std::string(asked) == more ? nullptr : fields_.take(more);
      if (value == nullptr) continue;
      ASSIGN_OR_RETURN(std::string behind, text_column(more, *value));
      if (!behind.empty()) absl::StrAppend(&text, "\n\n", behind);
    }
    turns_.push_back({{{"role", "user"}, {"content", text}}, true});
    turns_.push_back({{{"role", "assistant"}, {"content", answer_text}}, true});
    return absl::OkStatus();
  }

  bool begins_with_system() const { return !turns_.empty() && turns_.front().message["role"] == "system"; }

  absl::Status read_history() {
    const Json* history = fields_.take("history");
    if (history == nullptr || says_nothing(*history)) return absl::OkStatus();
    if (!history->is_array()) return wrong("\"history\" is no list of earlier turns");
    absl::StatusOr<std::vector<Turn>> earlier = turns_of(*history, traits_);
    if (!earlier.ok()) return wrong(absl::StrCat("\"history\", ", earlier.status().message()));
    turns_.insert(turns_.begin() + (begins_with_system() ? 1 : 0), std::make_move_iterator(earlier->begin()),
                  std::make_move_iterator(earlier->end()));
    return absl::OkStatus();
  }

  absl::Status read_system() {
    ASSIGN_OR_RETURN(auto found, take_one(fields_, kSystem));
    if (found.second == nullptr) return absl::OkStatus();
    ASSIGN_OR_RETURN(std::string text, text_column(found.first, *found.second));
    if (text.empty()) return absl::OkStatus();
    if (!begins_with_system()) {
      turns_.insert(turns_.begin(), {{{"role", "system"}, {"content", text}}, true});
    } else if (turns_.front().message.value("content", Json()) != text) {
      return wrong(
          absl::StrCat("\"", found.first, "\" differs from the system message that the conversation begins with"));
    }
    return absl::OkStatus();
  }

  // Of a question with its answer: what is thought before the answer.
  absl::Status read_reasoning() {
    if (!pair_) return absl::OkStatus();
    ASSIGN_OR_RETURN(auto found, take_one(fields_, kReasoning));
    if (found.second == nullptr || says_nothing(*found.second)) return absl::OkStatus();
    ASSIGN_OR_RETURN(std::string text, text_column(found.first, *found.second));
    turns_.back().message["thinking"] = text;
    turns_.back().message["reasoning_content"] = text;
    return absl::OkStatus();
  }

  absl::Status read_tools() {
    ASSIGN_OR_RETURN(auto found, take_one(fields_, kTools));
    if (found.second == nullptr || *found.second == "") return absl::OkStatus();
    ASSIGN_OR_RETURN(made_.tools, list_of_objects(found.first, *found.second));
    if (std::string(found.first) != "functions") return absl::OkStatus();
    for (Json& one : made_.tools) one = {{"type", "function"}, {"function", Json(one)}};
    return absl::OkStatus();
  }

  absl::Status read_weight() {
    for (const char* name : kWeights) {
      const Json* value = fields_.take(name);
      if (value == nullptr) continue;
      ASSIGN_OR_RETURN(bool learnt, is_learnt(name, *value));
      made_.counts = made_.counts && learnt;
    }
    return absl::OkStatus();
  }

  absl::Status read_variables() {
    const Json* given = fields_.take("chat_template_kwargs");
    if (given == nullptr) return absl::OkStatus();
    if (!given->is_object()) return wrong("\"chat_template_kwargs\" is no object");
    for (auto it = given->begin(); it != given->end(); ++it) {
      if (one_of(it.key(),
                 std::initializer_list<const char*>{"messages", "tools", "documents", "add_generation_prompt"}))
        return wrong(absl::StrCat("\"chat_template_kwargs\" sets ", it.key(), ", which the row's own columns do"));
    }
    made_.variables = *given;
    return absl::OkStatus();
  }

  // Whether a column repeats what the conversation says, as "prompt" beside "messages" often does.
  bool is_said(const Json& value) const {
    if (!value.is_string()) return false;
    const absl::string_view text = absl::StripAsciiWhitespace(value.get_ref<const std::string&>());
    return std::any_of(made_.messages.begin(), made_.messages.end(), [&](const Json& message) {
      const auto content = message.find("content");
      return content != message.end() && content->is_string() &&
             absl::StripAsciiWhitespace(content->get_ref<const std::string&>()) == text;
    });
  }

  absl::Status check_rest(std::set<std::string>* ignored) const {
    for (const RowFields::Rest& one : fields_.rest()) {
      // Labels of tokens, and whether an answer is a wanted one; words beside a conversation are no such thing.
      const bool labels = one.lower == "labels" && one.value->is_array() && !one.value->empty() &&
                          one.value->front().is_number_integer();
      const bool verdict = one.lower == "label" && pair_ && one.value->is_boolean();
      if (labels || verdict || (one_of(one.lower, kRefused) && !says_nothing(*one.value))) {
        return wrong(absl::StrCat("\"", one.name, "\" means something to training that is not done here"));
      } else if (one_of(one.lower, kParts)) {
        if (!says_nothing(*one.value) && !is_said(*one.value)) {
          return wrong(absl::StrCat("\"", one.name,
                                    "\" stands beside the conversation and is no part of it; remove or "
                                    "rename the column if it means nothing"));
        }
      } else if (ignored != nullptr) {
        ignored->insert(one.name);
      }
    }
    return absl::OkStatus();
  }

  RowFields fields_;
  const TemplateTraits& traits_;
  std::vector<Turn> turns_;
  bool pair_ = false;  // a question with its answer, instead of a list of turns
  Conversation made_;
};

}  // namespace

absl::StatusOr<Conversation> read_conversation(const Json& row, const std::string& where, const TemplateTraits& traits,
                                               std::set<std::string>* ignored) {
  absl::StatusOr<Conversation> made = deeper_than(row, kDeepestJson)
                                          ? wrong(absl::StrCat("it is nested more than ", kDeepestJson, " deep"))
                                          : RowReader(row, traits).run(ignored);
  if (!made.ok()) return absl::InvalidArgumentError(absl::StrCat(where, ": ", made.status().message()));
  return made;
}

}  // namespace galleon
