// A message of a stream as a server-sent event.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "galleon/v1/jobs.pb.h"
#include "server/http/request.h"

namespace galleon::server {

// One "event: NAME, id: …, data: …" with JSON on one line.
std::string event_text(absl::string_view name, absl::string_view id, absl::string_view json);

// Bytes of a log as text, which may break off within a character.
class LogText {
 public:
  // What is whole; the rest comes with the next piece. What is no UTF-8 is replaced.
  std::string add(absl::string_view bytes);
  // Bytes that were held back.
  size_t held() const { return held_.size(); }
  void clear() { held_.clear(); }

 private:
  std::string held_;
};

// What turns the messages of one stream into events.
class EventWriter {
 public:
  EventWriter(const Route& route, FieldTree fields) : route_(route), fields_(std::move(fields)) {}
  // `bytes`: a message of the stream.
  std::string write(const std::string& bytes);

 private:
  const Route& route_;
  const FieldTree fields_;
  LogText log_;
  uint32_t attempt_ = 0;
};

}  // namespace galleon::server
