// Conversations as data files write them, one a row.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/chat/turns.h"

namespace galleon {

struct Conversation {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();  // each with `role`, `content` and the rest of it
  std::vector<bool> trained;                                          // as many: an answer that is learnt
  nlohmann::ordered_json tools;                                       // null: none
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();  // further ones of the chat template
  bool counts = true;                                                   // false: the whole row is not to be learnt
};

// The conversation of a row. Columns are found in any capitals. Known are
//   "messages", "conversations" or "conversation": a list of turns (turns.h)
//   a question and its answer: "prompt", "question", "instruction", "query" or "input" with "completion", "response",
//   "answer" or "output"; "input" and "context" go on behind the question. Of "prompt" and "completion" both may be
//   lists of messages, of which those of the completion are learnt.
// Beside each: "system" (or "system_prompt", "system_message"), "history" (earlier turns), "tools" (or "functions"),
// "weight" and the like (0: the row is not learnt), "chat_template_kwargs". Columns that mean something to training and
// are not honoured are refused by name, as is one that says something else than the conversation. What is left is no
// part of it: the names are added to `ignored`. INVALID_ARGUMENT: `where` (file and line) and what is wrong.
absl::StatusOr<Conversation> read_conversation(const nlohmann::ordered_json& row, const std::string& where,
                                               const TemplateTraits& traits = {},
                                               std::set<std::string>* ignored = nullptr);

}  // namespace galleon
