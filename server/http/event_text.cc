#include "server/http/event_text.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"
#include "proto/jobfile/message_json.h"

namespace galleon::server {

namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";

// Bytes at the end that begin a character and do not finish it.
size_t unfinished(absl::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const char byte = text[text.size() - back];
    if (utf8_continues(byte)) continue;
    return utf8_announced(static_cast<unsigned char>(byte)) > back ? back : 0;
  }
  return 0;
}

std::string sound(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    size_t bad = 1;
    const size_t length = utf8_length(text, &bad);
    absl::StrAppend(&out, length > 0 ? text.substr(0, length) : kReplacement);
    text.remove_prefix(length > 0 ? length : bad);
  }
  return out;
}

}  // namespace

std::string event_text(absl::string_view name, absl::string_view id, absl::string_view json) {
  std::string text = absl::StrCat("event: ", name, "\n");
  if (!id.empty()) absl::StrAppend(&text, "id: ", id, "\n");
  return absl::StrCat(text, "data: ", json, "\n\n");
}

std::string LogText::add(absl::string_view bytes) {
  held_.append(bytes.data(), bytes.size());
  const size_t rest = unfinished(held_);
  std::string text = sound(absl::string_view(held_).substr(0, held_.size() - rest));
  held_.erase(0, held_.size() - rest);
  return text;
}

std::string EventWriter::write(const std::string& bytes) {
  if (absl::string_view(route_.method) == "ReadLogs") {
    v1::ReadLogsResponse piece;
    piece.ParseFromString(bytes);
    if (piece.attempt() != attempt_) log_.clear();
    attempt_ = piece.attempt();
    const uint64_t begin = piece.offset() - log_.held();
    const std::string text = log_.add(piece.data());
    const uint64_t end = piece.offset() + piece.data().size() - log_.held();
    const nlohmann::ordered_json json = {
        {"attempt", attempt_}, {"offset", absl::StrCat(begin)}, {"next_offset", absl::StrCat(end)}, {"text", text}};
    return event_text("log", absl::StrCat(attempt_, ":", end), json.dump());
  }
  if (absl::string_view(route_.method) == "WatchJob") {
    v1::WatchJobResponse response;
    response.ParseFromString(bytes);
    uint64_t revision = response.job().revision();
    for (const v1::Event& event : response.events()) revision = std::max(revision, event.revision());
    keep_only(fields_, response);
    return event_text("job", absl::StrCat(revision), message_json(response, -1, fields_.below.empty()));
  }
  v1::WatchEventsResponse response;
  response.ParseFromString(bytes);
  const std::string id = absl::StrCat(response.revision());
  keep_only(fields_, response);
  return event_text("events", id, message_json(response, -1, fields_.below.empty()));
}

}  // namespace galleon::server
