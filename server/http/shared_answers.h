// Answers that many ask for at about the same time are made once: for those who say, by `Cache-Control:
// max-age=SECONDS`, that theirs may be so old (RFC 9111, 5.2.1.1). A hundred pages that hear of one change cost as one.
// Used on the server's thread alone.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"
#include "server/http/exchange.h"

namespace galleon::server {

class SharedAnswers {
 public:
  static constexpr size_t kMostBytes = 16 << 20;  // of bodies that are kept
  static constexpr absl::Duration kOldest = absl::Seconds(10);

  // Zero: it wants an answer of its own.
  static absl::Duration age_taken(const HttpRequest& request);

  // `key`: everything that the answer depends on, but for time. True: the exchange has one that is not older, or gets
  // the one that is being made; should that fail, `ask` is called. False: the caller makes one, and says so by made().
  bool serve(const std::string& key, absl::Duration age, absl::Time now, const std::shared_ptr<Exchange>& exchange,
             std::function<void()> ask);
  // Once for each time that serve() said false; `asked`: when that was.
  void made(const std::string& key, absl::Time asked, const HttpReply& reply, absl::Time now);

  size_t bytes() const { return bytes_; }

 private:
  struct Waiting {
    std::shared_ptr<Exchange> exchange;
    std::function<void()> ask;
  };
  struct Answer {
    bool being_made = true;
    absl::Time begun;  // what it says is not older
    HttpReply reply;
    std::vector<Waiting> waiting;
  };
  void forget_older(absl::Time than);

  std::unordered_map<std::string, Answer> answers_;
  size_t bytes_ = 0;
};

}  // namespace galleon::server
