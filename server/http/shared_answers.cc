#include "server/http/shared_answers.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace galleon::server {

namespace {

HttpReply aged(HttpReply reply, absl::Duration age) {
  reply.headers.emplace_back("Age", absl::StrCat(absl::ToInt64Seconds(age)));
  return reply;
}

}  // namespace

absl::Duration SharedAnswers::age_taken(const HttpRequest& request) {
  absl::Duration age = absl::ZeroDuration();
  for (absl::string_view directive : absl::StrSplit(request.header("cache-control"), ',')) {
    directive = absl::StripAsciiWhitespace(directive);
    if (absl::EqualsIgnoreCase(directive, "no-cache") || absl::EqualsIgnoreCase(directive, "no-store"))
      return absl::ZeroDuration();
    if (!absl::StartsWithIgnoreCase(directive, "max-age=")) continue;
    uint32_t seconds = 0;
    if (!absl::SimpleAtoi(directive.substr(8), &seconds)) return absl::ZeroDuration();
    age = std::min(absl::Seconds(seconds), kOldest);
  }
  return age;
}

bool SharedAnswers::serve(const std::string& key, absl::Duration age, absl::Time now,
                          const std::shared_ptr<Exchange>& exchange, std::function<void()> ask) {
  forget_older(now - kOldest);
  const auto [it, is_new] = answers_.try_emplace(key);
  Answer& answer = it->second;
  if (!is_new && answer.begun <= now && now - answer.begun <= age) {  // a clock may be set back
    if (answer.being_made) {
      answer.waiting.push_back({exchange, std::move(ask)});
    } else {
      exchange->reply(aged(answer.reply, now - answer.begun));
    }
    return true;
  }
  // One that is being made takes too long for this caller, who makes another: whichever comes first is what those who
  // wait get, and counts as begun when the first of them was.
  if (answer.being_made && !is_new) return false;
  bytes_ -= answer.reply.body.size();
  answer.reply = {};
  answer.being_made = true;
  answer.begun = now;
  return false;
}

void SharedAnswers::made(const std::string& key, absl::Time asked, const HttpReply& reply, absl::Time now) {
  const auto it = answers_.find(key);
  // One of several that were made at once may come after the others, and when the next is being made already.
  if (it == answers_.end() || !it->second.being_made || asked < it->second.begun) return;
  const std::vector<Waiting> waiting = std::move(it->second.waiting);
  if (reply.status != 200) {
    answers_.erase(it);
    for (const Waiting& one : waiting) one.ask();
    return;
  }
  const absl::Duration age = now - it->second.begun;
  if (bytes_ + reply.body.size() <= kMostBytes) {
    bytes_ += reply.body.size();
    it->second.reply = reply;
    it->second.being_made = false;
    it->second.waiting.clear();
  } else {
    answers_.erase(it);
  }
  for (const Waiting& one : waiting) one.exchange->reply(aged(reply, age));
}

void SharedAnswers::forget_older(absl::Time than) {
  for (auto it = answers_.begin(); it != answers_.end();) {
    if (!it->second.being_made && it->second.begun < than) {
      bytes_ -= it->second.reply.body.size();
      it = answers_.erase(it);
    } else {
      ++it;
    }
  }
}

}  // namespace galleon::server
