#include "worker/engine/data/chat/chat_tokens.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon {
namespace {

using Json = nlohmann::ordered_json;

size_t common_prefix(const std::string& a, const std::string& b) {
  const size_t most = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(most), b.begin()).first -
                             a.begin());
}

}  // namespace

ChatFormat::ChatFormat(ChatTemplate chat_template, const Tokenizer& tokenizer)
    : template_(std::move(chat_template)), tokenizer_(tokenizer), marks_(tokenizer.marks()) {
  const SpecialTokens special = tokenizer.special();
  const std::pair<const char*, int32_t> roles[] = {{"bos_token", special.begin},    {"eos_token", special.end},
                                                   {"pad_token", special.padding},  {"unk_token", special.unknown},
                                                   {"cls_token", special.classify}, {"sep_token", special.separator},
                                                   {"mask_token", special.mask}};
  for (const auto& [role, id] : roles) {
    for (const auto& [text, mark] : marks_) {
      if (mark == id) special_[role] = text;
    }
  }
}

absl::StatusOr<RenderedChat> ChatFormat::render(const Json& messages, const Json& tools, bool prompts) const {
  Json variables = special_;
  variables["messages"] = messages;
  variables["add_generation_prompt"] = prompts;
  variables["tools"] = tools;
  variables["documents"] = nullptr;
  return template_.render(variables);
}

// White space behind a special token that ends a turn is the template's, and no model writes it.
size_t ChatFormat::end_of_answer(const std::string& text, size_t begin, size_t end) const {
  const absl::string_view answer =
      absl::StripTrailingAsciiWhitespace(absl::string_view(text).substr(begin, end - begin));
  const bool marked =
      std::any_of(marks_.begin(), marks_.end(), [&](const auto& mark) { return absl::EndsWith(answer, mark.first); });
  return marked ? begin + answer.size() : end;
}

ChatTokens ChatFormat::tokens_of(const std::string& text, const Stretches& answers) const {
  ChatTokens tokens;
  tokenizer_.encode_marked(text, tokens.ids);
  tokens.counted.assign(tokens.ids.size(), false);
  // Tokens that lie wholly before a place of the text are those that its beginning alone gives too.
  std::vector<int32_t> before;
  const auto place = [&](size_t end) {
    before.clear();
    tokenizer_.encode_marked(absl::string_view(text).substr(0, end), before);
    const size_t most = std::min(before.size(), tokens.ids.size());
    return std::mismatch(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(most), tokens.ids.begin()).first -
           before.begin();
  };
  for (const auto& [begin, end] : answers) {
    if (begin == end) continue;
    std::fill(tokens.counted.begin() + place(begin),
              end == text.size() ? tokens.counted.end() : tokens.counted.begin() + std::max(place(begin), place(end)),
              true);
  }
  return tokens;
}

absl::StatusOr<std::vector<ChatTokens>> ChatFormat::encode(const Json& messages, const Json& tools) const {
  ASSIGN_OR_RETURN(RenderedChat whole, render(messages, tools, false));
  std::vector<ChatTokens> sequences;
  if (!whole.generated.empty()) {
    sequences.push_back(tokens_of(whole.text, whole.generated));
    return sequences;
  }
  Stretches answers;
  bool joined = true;
  Json so_far = Json::array();
  for (const Json& message : messages) {
    const bool answer = message.value("role", "") == "assistant";
    std::string prompt;
    if (answer) {
      ASSIGN_OR_RETURN(RenderedChat asked, render(so_far, tools, true));
      prompt = std::move(asked.text);
    }
    so_far.push_back(message);
    if (!answer) continue;
    ASSIGN_OR_RETURN(RenderedChat answered, render(so_far, tools, false));
    const std::string& text = answered.text;
    const size_t begin = common_prefix(prompt, text);
    const size_t end = end_of_answer(text, begin, text.size());
    answers.emplace_back(begin, end);
    joined = joined && absl::StartsWith(whole.text, text);
    sequences.push_back(tokens_of(text, {{begin, end}}));
  }
  if (!joined || sequences.size() <= 1) return sequences;
  return std::vector<ChatTokens>{tokens_of(whole.text, answers)};
}

absl::StatusOr<std::string> find_chat_template(const std::string& choice, const std::string& tokenizer) {
  namespace fs = std::filesystem;
  absl::string_view name = choice;
  if (absl::ConsumePrefix(&name, "preset:")) {
    absl::StatusOr<std::string> text = named_chat_template(name);
    if (!text.ok()) return absl::NotFoundError(absl::StrCat("data.chat_template: ", text.status().message()));
    return text;
  }
  if (!choice.empty()) {
    absl::StatusOr<std::string> text = read_file(choice);
    if (!text.ok()) return absl::NotFoundError(absl::StrCat("data.chat_template: ", text.status().message()));
    return text;
  }
  std::error_code error;
  const std::string folder =
      fs::is_directory(tokenizer, error) ? tokenizer : fs::path(tokenizer).parent_path().string();
  const std::string missing = absl::StrCat("data.chat_template: ", tokenizer,
                                           " brings no chat template (chat_template.jinja, or \"chat_template\" in "
                                           "tokenizer_config.json); name one, such as "
                                           "preset:chatml, or a .jinja file");
  if (tokenizer == "bytes") return absl::InvalidArgumentError(missing);
  const std::string file = (fs::path(folder) / "chat_template.jinja").string();
  if (fs::exists(file, error)) return read_file(file);
  absl::StatusOr<std::string> config = read_file((fs::path(folder) / "tokenizer_config.json").string());
  const Json json = config.ok() ? Json::parse(*config, nullptr, false) : Json();
  if (!json.is_object() || !json.contains("chat_template")) return absl::InvalidArgumentError(missing);
  const Json& found = json["chat_template"];
  if (found.is_string()) return found.get<std::string>();
  if (found.is_array()) {
    for (const Json& one : found) {
      if (one.is_object() && one.value("name", "") == "default" && one.contains("template") &&
          one["template"].is_string())
        return one["template"].get<std::string>();
    }
  }
  return absl::InvalidArgumentError(missing);
}

}  // namespace galleon
