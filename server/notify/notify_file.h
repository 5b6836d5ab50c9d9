// Who is told of what happens, from a YAML file:
//
//   waiting: 30m
//   receivers:
//     team-chat: {url_file: /etc/galleon/chat-url, kinds: [job.failed, job.waits]}
//     gateway:   {url: "https://hooks.example.org/galleon", secret_file: /etc/galleon/hook-secret, queues: [lab]}
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace galleon::server {

struct ReceiverConfig {
  std::string name;
  std::string url;                             // a secret, as chats have one in theirs
  std::string host;                            // of it, for messages
  std::string secret;                          // of the signature, bytes; empty: not signed
  std::string ca_file;                         // empty: the system's authorities
  std::set<std::string> kinds;                 // of notifications, never empty
  std::set<std::string> queues;                // empty: all
  std::set<std::string> owners;                // empty: all
  absl::Duration timeout = absl::Seconds(10);  // of a call, from its beginning to its end
  bool operator==(const ReceiverConfig&) const = default;
};

struct NotifyConfig {
  absl::Duration waiting;  // a job that waits longer is told of; zero: none is
  std::vector<ReceiverConfig> receivers;
};

// INVALID_ARGUMENT names the key, the line and what would be accepted; the errors of the files that it names. No
// message has what is in those.
absl::StatusOr<NotifyConfig> parse_notify(const std::string& yaml, absl::string_view file);
absl::StatusOr<NotifyConfig> load_notify(const std::string& path);
// INVALID_ARGUMENT: a receiver asks for a queue that is not among these.
absl::Status check_queues(const NotifyConfig& config, const std::set<std::string>& queues);

}  // namespace galleon::server
