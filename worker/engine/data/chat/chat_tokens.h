// Conversations as tokens, of which those that the assistant says are counted.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/chat/chat_template.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {

struct ChatTokens {
  std::vector<int32_t> ids;
  std::vector<bool> counted;  // as many: a token that the model has to learn to write
};

class ChatFormat {
 public:
  // The tokenizer must outlive it.
  ChatFormat(ChatTemplate chat_template, const Tokenizer& tokenizer);

  // A conversation, as a rule in one sequence. A template that writes earlier answers differently from the last one
  // gives a sequence for each answer, as the model sees them when it answers. Counted is what the template marks with
  // {% generation %}, else what an assistant's message adds to the text behind the prompt for it, up to its last
  // special token where one ends it. `tools` may be null. INVALID_ARGUMENT: what the template refuses.
  absl::StatusOr<std::vector<ChatTokens>> encode(const nlohmann::ordered_json& messages,
                                                 const nlohmann::ordered_json& tools) const;

 private:
  using Stretches = std::vector<std::pair<size_t, size_t>>;
  absl::StatusOr<RenderedChat> render(const nlohmann::ordered_json& messages, const nlohmann::ordered_json& tools,
                                      bool prompts) const;
  size_t end_of_answer(const std::string& text, size_t begin, size_t end) const;
  ChatTokens tokens_of(const std::string& text, const Stretches& answers) const;

  ChatTemplate template_;
  const Tokenizer& tokenizer_;
  nlohmann::ordered_json special_;  // bos_token and the others, by name
  std::vector<std::pair<std::string, int32_t>> marks_;
};

// The text of the chat template of a job. `choice`: data.chat_template, "preset:NAME" or a path; empty: that of the
// folder of `tokenizer`, as chat_template.jinja or in tokenizer_config.json. NOT_FOUND, INVALID_ARGUMENT: with the key.
absl::StatusOr<std::string> find_chat_template(const std::string& choice, const std::string& tokenizer);

}  // namespace galleon
