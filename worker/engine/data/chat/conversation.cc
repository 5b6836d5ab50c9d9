#include "worker/engine/data/chat/conversation.h"

#include "absl/strings/str_cat.h"

namespace galleon {
namespace {

using Json = nlohmann::json;
using Messages = nlohmann::ordered_json;

absl::Status wrong(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

Messages message(const std::string& role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

absl::StatusOr<Messages> from_messages(const Json& list, const std::string& where) {
  if (!list.is_array() || list.empty()) return wrong(where, "\"messages\" is no list of messages");
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& one = list[i];
    if (!one.is_object() || !one.contains("role") || !one["role"].is_string())
      return wrong(where, absl::StrCat("message ", i + 1, " has no \"role\""));
    if (!one.contains("content") && !one.contains("tool_calls"))
      return wrong(where, absl::StrCat("message ", i + 1, " has no \"content\""));
  }
  return Messages(list);
}

absl::StatusOr<Messages> from_turns(const Json& list, const std::string& where) {
  if (!list.is_array() || list.empty()) return wrong(where, "\"conversations\" is no list of turns");
  Messages messages = Messages::array();
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& one = list[i];
    const auto text = [&](const char* field) -> const std::string* {
      const bool there = one.is_object() && one.contains(field) && one[field].is_string();
      return there ? &one[field].get_ref<const std::string&>() : nullptr;
    };
    const std::string* from = text("from");
    const std::string* value = text("value");
    if (from == nullptr || value == nullptr)
      return wrong(where, absl::StrCat("turn ", i + 1, " has no \"from\" and \"value\""));
    const bool asks = *from == "human" || *from == "user";
    const bool answers = *from == "gpt" || *from == "assistant" || *from == "model";
    messages.push_back(message(asks ? "user" : answers ? "assistant" : *from, *value));
  }
  return messages;
}

}  // namespace

absl::StatusOr<Messages> messages_of(const Json& line, const std::string& where) {
  if (line.contains("messages")) return from_messages(line["messages"], where);
  if (line.contains("conversations")) return from_turns(line["conversations"], where);
  const auto text = [&](const char* field) -> const std::string* {
    const auto found = line.find(field);
    return found != line.end() && found->is_string() ? &found->get_ref<const std::string&>() : nullptr;
  };
  constexpr std::pair<const char*, const char*> kPairs[] = {{"prompt", "completion"},
                                                            {"prompt", "response"},
                                                            {"question", "answer"},
                                                            {"instruction", "output"},
                                                            {"instruction", "response"}};
  for (const auto& [asked, answered] : kPairs) {
    const std::string* question = text(asked);
    const std::string* answer = text(answered);
    if (question == nullptr || answer == nullptr) continue;
    Messages messages = Messages::array();
    if (const std::string* system = text("system"); system != nullptr && !system->empty())
      messages.push_back(message("system", *system));
    const std::string* input = std::string(asked) == "instruction" ? text("input") : nullptr;
    const bool more = input != nullptr && !input->empty();
    messages.push_back(message("user", more ? absl::StrCat(*question, "\n\n", *input) : *question));
    messages.push_back(message("assistant", *answer));
    return messages;
  }
  return wrong(where,
               "no conversation; one of \"messages\", \"conversations\", \"prompt\" with \"completion\", \"question\" "
               "with \"answer\", \"instruction\" with \"output\" is needed");
}

}  // namespace galleon
