#include <algorithm>
#include <mutex>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/chat/chat_tokens.h"
#include "worker/engine/data/chat/conversation.h"
#include "worker/engine/data/input_encoder.h"
#include "worker/engine/data/json_lines.h"

namespace galleon {
namespace {

class ChatEncoder final : public InputEncoder {
 public:
  ChatEncoder(ChatFormat format, int64_t longest) : format_(std::move(format)), longest_(longest) {}

  bool has_sequences() const override { return true; }
  bool has_mask() const override { return true; }

  absl::StatusOr<EncodedPiece> encode(const InputPiece& piece, const std::string& path) const override {
    EncodedPiece out;
    std::set<std::string> ignored;
    RETURN_IF_ERROR(
        for_each_json_line(piece, path, &out.bad_rows, [&](const nlohmann::ordered_json& json, int64_t number) {
          return add(json, line_name(path, number), piece.file, ignored, out);
        }));
    tell(ignored, path);
    return out;
  }

 private:
  absl::Status add(const nlohmann::ordered_json& row, const std::string& where, size_t file,
                   std::set<std::string>& ignored, EncodedPiece& out) const {
    ASSIGN_OR_RETURN(Conversation conversation, read_conversation(row, where, format_.traits(), &ignored));
    ++out.documents;
    if (!conversation.counts) {
      leave_out(where, "has a weight of 0", out);
      return absl::OkStatus();
    }
    absl::StatusOr<std::vector<ChatTokens>> sequences = format_.encode(conversation);
    if (!sequences.ok()) return absl::InvalidArgumentError(absl::StrCat(where, ": ", sequences.status().message()));
    bool kept = false;
    for (const ChatTokens& tokens : *sequences) kept = append(tokens, file, out) || kept;
    if (!kept) leave_out(where, "has no answer within data.sequence_length", out);
    return absl::OkStatus();
  }

  static void leave_out(const std::string& where, const char* why, EncodedPiece& out) {
    if (out.left_out.count++ > 0) return;
    out.left_out.first = where;
    out.left_out.reason = why;
  }

  // Columns that are no part of a conversation, each once.
  void tell(const std::set<std::string>& ignored, const std::string& path) const {
    if (ignored.empty()) return;
    const std::lock_guard<std::mutex> lock(told_mutex_);
    for (const std::string& name : ignored) {
      if (told_.insert(name).second)
        log_info(path, ": the column \"", name, "\" is no part of a conversation and is not read");
    }
  }

  // False: nothing in it counts.
  bool append(const ChatTokens& tokens, size_t file, EncodedPiece& out) const {
    const size_t length = std::min(tokens.ids.size(), static_cast<size_t>(longest_));
    const size_t begin = out.tokens.size();
    uint32_t targets = 0;
    for (size_t i = 0; i < length; ++i) {
      const bool counted = i > 0 && tokens.counted[i];
      targets += counted ? 1 : 0;
      out.tokens.push_back(static_cast<uint32_t>(tokens.ids[i]) | (counted ? kCountedBit : 0));
    }
    if (targets == 0) {
      out.tokens.resize(begin);
      return false;
    }
    if (tokens.ids.size() > length) ++out.cut;
    const auto size = static_cast<uint32_t>(length);
    out.sequences.push_back({begin, size, size, targets, static_cast<uint32_t>(file), 0, 0});
    return true;
  }

  ChatFormat format_;
  int64_t longest_;
  mutable std::mutex told_mutex_;
  mutable std::set<std::string> told_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<InputEncoder>> make_chat_encoder(const DataOptions& options,
                                                                const std::string& chat_template,
                                                                const Tokenizer& tokenizer) {
  ASSIGN_OR_RETURN(ChatTemplate parsed, ChatTemplate::parse(chat_template, "the chat template"));
  if (!options.template_date.empty()) {
    absl::CivilDay day;
    if (!absl::ParseCivilTime(options.template_date, &day))
      return absl::InvalidArgumentError(
          absl::StrCat("the template's date ", options.template_date, " is not accepted; one such as 2024-07-26"));
    parsed.see_date(day);
  }
  return std::make_unique<ChatEncoder>(ChatFormat(std::move(parsed), chat_template, tokenizer),
                                       options.sequence_length + 1);
}

}  // namespace galleon
