// Chat templates: how a conversation becomes the text that a model was trained to read. Rendering equals that of
// transformers' apply_chat_template; of Jinja it knows what models' templates use, and refuses the rest by name.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"
#include "worker/engine/data/chat/template_syntax.h"

namespace galleon {

// The date that templates see where none is given: the one that Llama 3's own write where there is no clock.
constexpr absl::CivilDay kTemplateDay(2024, 7, 26);

struct RenderedChat {
  std::string text;
  // Stretches [begin, end) of the text that the template marks as the assistant's, by {% generation %}.
  std::vector<std::pair<size_t, size_t>> generated;
};

class ChatTemplate {
 public:
  // `where` is for errors. INVALID_ARGUMENT: `where`, the line and what is not understood.
  static absl::StatusOr<ChatTemplate> parse(absl::string_view source, const std::string& where);

  // `variables`: messages, add_generation_prompt, bos_token, … Thread-safe. There is no clock: strftime_now gives
  // the date of see_date() on every day, so that the same data gives the same tokens. INVALID_ARGUMENT: what the
  // template raises, or an operation that fails, with its line.
  absl::StatusOr<RenderedChat> render(const nlohmann::ordered_json& variables) const;

  // The date of strftime_now from now on.
  void see_date(absl::CivilDay day) { day_ = day; }

 private:
  absl::CivilDay day_ = kTemplateDay;
  std::string where_;
  std::shared_ptr<const TemplateNode> body_;
};

// Templates by name: what `data.chat_template: preset:NAME` means. NOT_FOUND lists the names.
absl::StatusOr<std::string> named_chat_template(absl::string_view name);

}  // namespace galleon
