// One request and its answer, apart from how bytes travel. Everything here happens on the thread of the server.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace galleon::server {

struct HttpRequest {
  std::string verb;
  std::string target;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string peer;                                          // "127.0.0.1:40123"

  // Of the first header of that name; empty: there is none.
  absl::string_view header(absl::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return value;
    }
    return "";
  }
};

struct HttpReply {
  int status = 200;
  std::string type;  // of the body
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  // Once; or the three below.
  virtual void reply(HttpReply reply) = 0;
  // An answer of server-sent events. `gone`: the other side went away, or was too slow.
  virtual void begin_events(std::function<void()> gone) = 0;
  // `written`: the other side has taken it. One at a time.
  virtual void send_event(std::string text, std::function<void()> written) = 0;
  virtual void end_events(std::string text) = 0;
};

}  // namespace galleon::server
