#include "worker/engine/data/chat/chat_tokens.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/reach.h"
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

ChatFormat::ChatFormat(ChatTemplate chat_template, std::string text, const Tokenizer& tokenizer)
    : template_(std::move(chat_template)), tokenizer_(tokenizer), marks_(tokenizer.marks()) {
  const SpecialTokens special = tokenizer.special();
  const std::pair<const char*, int32_t> roles[] = {{"bos_token", special.begin},    {"eos_token", special.end},
                                                   {"pad_token", special.padding},  {"unk_token", special.unknown},
                                                   {"cls_token", special.classify}, {"sep_token", special.separator},
                                                   {"mask_token", special.mask}};
  for (const auto& [role, id] : roles) {
    for (const auto& [written, mark] : marks_) {
      if (mark == id) special_[role] = written;
    }
  }
  traits_.text = std::move(text);
  traits_.part_roles = roles_that_take_parts();
}

absl::StatusOr<RenderedChat> ChatFormat::render(const Conversation& conversation, size_t count, bool prompts) const {
  Json variables = special_;
  const Json& messages = conversation.messages;
  variables["messages"] = Json::array();
  for (size_t i = 0; i < count; ++i) variables["messages"].push_back(messages[i]);
  variables["add_generation_prompt"] = prompts;
  variables["tools"] = conversation.tools;
  variables["documents"] = nullptr;
  for (auto it = conversation.variables.begin(); it != conversation.variables.end(); ++it) variables[it.key()] = *it;
  return template_.render(variables);
}

// A template that takes parts writes their text, and nothing of how they are built.
std::set<std::string> ChatFormat::roles_that_take_parts() const {
  const Json parts = {{{"type", "text"}, {"text", "qzwx"}}};
  const Json plain = {{"role", "user"}, {"content", "a"}};
  std::set<std::string> roles;
  for (const std::string role : {"system", "user", "assistant"}) {
    Conversation probe;
    if (role == "assistant") probe.messages.push_back(plain);
    probe.messages.push_back({{"role", role}, {"content", parts}});
    if (role == "system") probe.messages.push_back(plain);
    const absl::StatusOr<RenderedChat> made = render(probe, probe.messages.size(), false);
    const bool takes = made.ok() && absl::StrContains(made->text, "qzwx") && !absl::StrContains(made->text, "'type'") &&
                       !absl::StrContains(made->text, "\"type\"");
    if (takes) roles.insert(role);
  }
  return roles;
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

bool ChatFormat::makes_a_difference(const Conversation& conversation, const Conversation& changed, size_t at,
                                    const std::string& whole) const {
  const size_t all = conversation.messages.size();
  const absl::StatusOr<RenderedChat> other = render(changed, all, false);
  if (!other.ok() || other->text != whole) return true;
  // A template may leave something out of all messages but the last.
  const absl::StatusOr<RenderedChat> then = render(conversation, at + 1, false);
  const absl::StatusOr<RenderedChat> otherwise = render(changed, at + 1, false);
  return then.ok() && otherwise.ok() && then->text != otherwise->text;
}

absl::Status ChatFormat::check_message(const Conversation& conversation, size_t at, const std::string& whole) const {
  const Json& message = conversation.messages[at];
  const auto refuse = [&](const char* field) {
    return absl::InvalidArgumentError(absl::StrCat("message ", at + 1, ": the chat template does not write the \"",
                                                   field, "\" of the role ", message["role"].get<std::string>()));
  };
  for (const char* field : {"tool_calls", "function_call", "reasoning_content"}) {
    if (!message.contains(field) || message[field].empty() || message[field] == "") continue;
    Conversation changed = conversation;
    Json& without = changed.messages[at];
    without.erase(field);
    if (std::string(field) == "reasoning_content") {
      without.erase("thinking");
      without.erase("reasoning");
    }
    if (!makes_a_difference(conversation, changed, at, whole)) return refuse(field);
  }
  const auto content = message.find("content");
  if (content == message.end() || !content->is_string()) return absl::OkStatus();
  const absl::string_view text = absl::StripAsciiWhitespace(content->get_ref<const std::string&>());
  const std::string role = message["role"].get<std::string>();
  const bool usual = role == "user" || role == "assistant";
  if (text.empty() || (usual && absl::StrContains(whole, text))) return absl::OkStatus();
  Conversation changed = conversation;
  changed.messages[at]["content"] = absl::StrCat(text, "~");
  return makes_a_difference(conversation, changed, at, whole) ? absl::OkStatus() : refuse("content");
}

// What a template passes over would be gone without a word.
absl::Status ChatFormat::check_written(const Conversation& conversation, const std::string& whole) const {
  if (!conversation.tools.empty()) {
    Conversation changed = conversation;
    changed.tools = nullptr;
    if (!makes_a_difference(conversation, changed, 0, whole))
      return absl::InvalidArgumentError("the chat template does not write \"tools\"");
  }
  for (size_t i = 0; i < conversation.messages.size(); ++i) RETURN_IF_ERROR(check_message(conversation, i, whole));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ChatTokens>> ChatFormat::encode(const Conversation& conversation) const {
  ASSIGN_OR_RETURN(RenderedChat whole, render(conversation, conversation.messages.size(), false));
  RETURN_IF_ERROR(check_written(conversation, whole.text));
  return whole.generated.empty() ? encode_found(conversation, whole) : encode_marked(conversation, whole);
}

// Marked stretches belong to the message that adds them, which is asked only where not every answer is learnt.
absl::StatusOr<std::vector<ChatTokens>> ChatFormat::encode_marked(const Conversation& conversation,
                                                                  const RenderedChat& whole) const {
  const Json& messages = conversation.messages;
  bool all = true;
  for (size_t i = 0; i < messages.size(); ++i)
    all = all && (conversation.trained[i] || messages[i].value("role", "") != "assistant");
  if (all) return std::vector<ChatTokens>{tokens_of(whole.text, whole.generated)};
  Stretches learnt;
  std::vector<ChatTokens> sequences;
  bool joined = true;
  std::string before;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!conversation.trained[i]) continue;
    absl::StatusOr<RenderedChat> earlier = RenderedChat{};
    if (i > 0) earlier = render(conversation, i, false);
    if (!earlier.ok()) return earlier.status();
    ASSIGN_OR_RETURN(RenderedChat answered, render(conversation, i + 1, false));
    const size_t begin = common_prefix(earlier->text, answered.text);
    Stretches own;
    for (const auto& stretch : answered.generated) {
      if (stretch.first >= begin) own.push_back(stretch);
    }
    learnt.insert(learnt.end(), own.begin(), own.end());
    joined = joined && absl::StartsWith(whole.text, answered.text);
    sequences.push_back(tokens_of(answered.text, own));
  }
  if (!joined) return sequences;
  return std::vector<ChatTokens>{tokens_of(whole.text, learnt)};
}

absl::StatusOr<std::vector<ChatTokens>> ChatFormat::encode_found(const Conversation& conversation,
                                                                 const RenderedChat& whole) const {
  std::vector<ChatTokens> sequences;
  Stretches answers;
  bool joined = true;
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    if (!conversation.trained[i]) continue;
    ASSIGN_OR_RETURN(RenderedChat asked, render(conversation, i, true));
    ASSIGN_OR_RETURN(RenderedChat answered, render(conversation, i + 1, false));
    const std::string& text = answered.text;
    const size_t begin = common_prefix(asked.text, text);
    const size_t end = end_of_answer(text, begin, text.size());
    answers.emplace_back(begin, end);
    joined = joined && absl::StartsWith(whole.text, text);
    sequences.push_back(tokens_of(text, {{begin, end}}));
  }
  if (!joined || sequences.size() <= 1) return sequences;
  return std::vector<ChatTokens>{tokens_of(whole.text, answers)};
}

namespace {

// Of a list of templates in tokenizer_config.json; empty: it is not there.
std::string listed_template(const Json& list, const std::string& name) {
  if (!list.is_array()) return "";
  for (const Json& one : list) {
    const bool named = one.is_object() && one.contains("name") && one["name"] == name;
    if (named && one.contains("template") && one["template"].is_string()) return one["template"].get<std::string>();
  }
  return "";
}

// Of two templates the second is for conversations with tools, as transformers choose between "default" and "tool_use".
// The plus signs keep white space beside the tags; a template's last line end is not written.
std::string one_template(absl::string_view usual, absl::string_view tool_use) {
  absl::ConsumeSuffix(&usual, "\n");
  absl::ConsumeSuffix(&tool_use, "\n");
  return absl::StrCat("{% if tools is not none +%}", tool_use, "{%+ else +%}", usual, "{%+ endif %}");
}

}  // namespace

absl::StatusOr<std::string> find_chat_template(const std::string& choice, const std::string& tokenizer) {
  namespace fs = std::filesystem;
  absl::string_view name = choice;
  if (absl::ConsumePrefix(&name, "preset:")) {
    absl::StatusOr<std::string> text = named_chat_template(name);
    if (!text.ok()) return absl::NotFoundError(absl::StrCat("data.chat_template: ", text.status().message()));
    return text;
  }
  if (!choice.empty()) {
    absl::StatusOr<std::string> text = read_to_parse(choice);
    if (!text.ok())
      return absl::Status(text.status().code(), absl::StrCat("data.chat_template: ", text.status().message()));
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
  if (fs::exists(file, error)) {
    ASSIGN_OR_RETURN(std::string usual, read_to_parse(file));
    const std::string with_tools = (fs::path(folder) / "additional_chat_templates" / "tool_use.jinja").string();
    if (!fs::exists(with_tools, error)) return usual;
    ASSIGN_OR_RETURN(std::string tool_use, read_to_parse(with_tools));
    return one_template(usual, tool_use);
  }
  absl::StatusOr<std::string> config = read_to_parse((fs::path(folder) / "tokenizer_config.json").string());
  if (absl::IsPermissionDenied(config.status())) return config.status();
  const Json json = config.ok() && !nested_too_deeply(*config) ? Json::parse(*config, nullptr, false) : Json();
  if (!json.is_object() || !json.contains("chat_template")) return absl::InvalidArgumentError(missing);
  const Json& found = json["chat_template"];
  if (found.is_string()) return found.get<std::string>();
  const std::string usual = listed_template(found, "default");
  if (usual.empty()) return absl::InvalidArgumentError(missing);
  const std::string tool_use = listed_template(found, "tool_use");
  return tool_use.empty() ? usual : one_template(usual, tool_use);
}

}  // namespace galleon
