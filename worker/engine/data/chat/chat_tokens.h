// Conversations as tokens, of which those that the assistant says are counted.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/chat/chat_template.h"
#include "worker/engine/data/chat/conversation.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {

struct ChatTokens {
  std::vector<int32_t> ids;
  std::vector<bool> counted;  // as many: a token that the model has to learn to write
};

class ChatFormat {
 public:
  // `text`: that of the template. The tokenizer must outlive it.
  ChatFormat(ChatTemplate chat_template, std::string text, const Tokenizer& tokenizer);

  // What decides how turns are read for this template.
  const TemplateTraits& traits() const { return traits_; }

  // A conversation, as a rule in one sequence. A template that writes earlier answers differently from the last one
  // gives a sequence for each answer, as the model sees them when it answers. Counted is what the template marks with
  // {% generation %}, else what an assistant's message adds to the text behind the prompt for it, up to its last
  // special token where one ends it; of both, what is to be learnt. INVALID_ARGUMENT: what the template refuses, and
  // what the conversation says and the template does not write.
  absl::StatusOr<std::vector<ChatTokens>> encode(const Conversation& conversation) const;

 private:
  using Stretches = std::vector<std::pair<size_t, size_t>>;
  using Json = nlohmann::ordered_json;
  // The first `count` messages.
  absl::StatusOr<RenderedChat> render(const Conversation& conversation, size_t count, bool prompts) const;
  std::set<std::string> roles_that_take_parts() const;
  absl::Status check_written(const Conversation& conversation, const std::string& whole) const;
  absl::Status check_message(const Conversation& conversation, size_t at, const std::string& whole) const;
  bool makes_a_difference(const Conversation& conversation, const Conversation& changed, size_t at,
                          const std::string& whole) const;
  absl::StatusOr<std::vector<ChatTokens>> encode_marked(const Conversation& conversation,
                                                        const RenderedChat& whole) const;
  absl::StatusOr<std::vector<ChatTokens>> encode_found(const Conversation& conversation,
                                                       const RenderedChat& whole) const;
  size_t end_of_answer(const std::string& text, size_t begin, size_t end) const;
  ChatTokens tokens_of(const std::string& text, const Stretches& answers) const;

  ChatTemplate template_;
  const Tokenizer& tokenizer_;
  nlohmann::ordered_json special_;  // bos_token and the others, by name
  std::vector<std::pair<std::string, int32_t>> marks_;
  TemplateTraits traits_;
};

// The text of the chat template of a job. `choice`: data.chat_template, "preset:NAME" or a path; empty: that of the
// folder of `tokenizer`, as chat_template.jinja or in tokenizer_config.json. NOT_FOUND, INVALID_ARGUMENT: with the key.
absl::StatusOr<std::string> find_chat_template(const std::string& choice, const std::string& tokenizer);

}  // namespace galleon
