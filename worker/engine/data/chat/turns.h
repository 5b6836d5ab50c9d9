// Turns of a conversation as data files write them, one by one: whose it is, what it says, and whether it is learnt.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

// One turn, as a chat template gets it: `role`, `content` and whatever else the turn has, without its nulls.
struct Turn {
  nlohmann::ordered_json message;
  bool trained = true;  // false: an answer that the model reads and does not learn
};

// What a template makes of messages, as far as it decides how turns are read.
struct TemplateTraits {
  std::string text;                  // roles that stand in it are accepted too
  std::set<std::string> part_roles;  // roles whose content it takes as a list of parts
};

// The turns of `list`, each one of
//   {"role": …, "content": …}   messages
//   {"from": …, "value": …}     ShareGPT's
//   {"human" or "user": …, "assistant", "gpt" or "bot": …}, [question, answer]   two turns at once
// Roles are user (human, prompter), assistant (gpt, model, bot, chatgpt, …), system, in any capitals; of messages also
// tool, developer and others as they are; of ShareGPT's turns tool (observation, function_response, …) and
// function_call. A turn with `weight: 0`, `train: false` and the like is read and not learnt. Content is text, null
// beside tool calls, or a list of texts, which is joined where the template takes no parts. INVALID_ARGUMENT: the
// number of the turn and what is wrong with it.
absl::StatusOr<std::vector<Turn>> turns_of(const nlohmann::ordered_json& list, const TemplateTraits& traits);

// "user", "assistant" or "system" of a role in any usual spelling; empty: another one.
std::string usual_role(absl::string_view role);

// Whether something is learnt, by a field that says so with 1, 0, true or false. INVALID_ARGUMENT: any other value.
absl::StatusOr<bool> is_learnt(absl::string_view field, const nlohmann::ordered_json& value);

// A list of objects, each of which, like the whole, may be JSON in a string. INVALID_ARGUMENT names `field`.
absl::StatusOr<nlohmann::ordered_json> list_of_objects(absl::string_view field, const nlohmann::ordered_json& value);

}  // namespace galleon
