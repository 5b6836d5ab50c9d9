// Any bytes as rows of conversations: each becomes tokens, or is refused with file and line. The first byte chooses a
// template and how the rows are written.
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_file.h"
#include "worker/engine/data/chat/chat_tokens.h"
#include "worker/engine/data/json_lines.h"

namespace {

using galleon::ChatFormat;
using galleon::ChatTokens;
using galleon::Conversation;

// A template that writes all that a row may say, and one that marks the answers.
constexpr char kAll[] =
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";
constexpr char kMarked[] =
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}";

const galleon::Tokenizer& tokenizer() {
  static const std::unique_ptr<galleon::Tokenizer> bytes = *galleon::open_tokenizer("bytes");
  return *bytes;
}

ChatFormat format_of(const std::string& text) {
  return ChatFormat(*galleon::ChatTemplate::parse(text, "template"), text, tokenizer());
}

const ChatFormat& format_of(int choice) {
  static const std::vector<ChatFormat> formats = [] {
    std::vector<ChatFormat> made;
    for (const char* name : {"preset:chatml", "preset:llama3", "preset:mistral", "preset:zephyr"})
      made.push_back(format_of(*galleon::find_chat_template(name, "")));
    made.push_back(format_of(std::string(kAll)));
    made.push_back(format_of(std::string(kMarked)));
    return made;
  }();
  return formats[static_cast<size_t>(choice) % formats.size()];
}

// What holds of each row that is accepted.
absl::Status check(const ChatFormat& format, const nlohmann::ordered_json& row, const std::string& where) {
  std::set<std::string> ignored;
  const absl::StatusOr<Conversation> conversation = galleon::read_conversation(row, where, format.traits(), &ignored);
  if (!conversation.ok()) {
    if (conversation.status().message().substr(0, where.size()) != where) __builtin_trap();
    return conversation.status();
  }
  if (conversation->trained.size() != conversation->messages.size()) __builtin_trap();
  const absl::StatusOr<std::vector<ChatTokens>> sequences = format.encode(*conversation);
  if (!sequences.ok()) return sequences.status();
  for (const ChatTokens& tokens : *sequences) {
    if (tokens.ids.size() != tokens.counted.size()) __builtin_trap();
    for (const int32_t id : tokens.ids)
      if (id < 0 || id >= tokenizer().vocabulary()) __builtin_trap();
  }
  return absl::OkStatus();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const galleon::FuzzFile file(data + 1, size - 1);
  const ChatFormat& format = format_of(data[0] % 16);
  const galleon::InputFormat formats[] = {galleon::InputFormat::kChat, galleon::InputFormat::kJsonArray,
                                          galleon::InputFormat::kCsv, galleon::InputFormat::kTabRows};
  galleon::PieceOptions pieces;
  pieces.skip_bad_rows = true;
  galleon::PieceReader reader({{file.path(), formats[data[0] / 16 % 4]}}, 0, pieces);
  galleon::BadRows bad;
  while (true) {
    const absl::StatusOr<std::optional<galleon::InputPiece>> piece = reader.next();
    if (!piece.ok() || !piece->has_value()) break;
    (void)galleon::for_each_json_line(**piece, file.path(), &bad,
                                      [&](const nlohmann::ordered_json& row, int64_t number) {
                                        return check(format, row, galleon::line_name(file.path(), number));
                                      });
  }
  return 0;
}
