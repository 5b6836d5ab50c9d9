#include "server/notify/notify_file.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/duration_text.h"
#include "common/base/files.h"
#include "common/base/secret_file.h"
#include "common/base/status_macros.h"
#include "server/notify/notification.h"

namespace galleon::server {

namespace {

constexpr size_t kMostReceivers = 16;  // each has a thread
constexpr char kKeys[] = "url, url_file, secret_file, ca_file, kinds, queues, owners, timeout";
constexpr absl::string_view kSecretPrefix = "whsec_";
constexpr size_t kShortestSecret = 24;
constexpr size_t kLongestSecret = 64;

bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= 48 && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
  });
}

// A part of a URL; empty: it has none.
std::string part_of(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return "";
  std::string copy(text);
  curl_free(text);
  return copy;
}

bool is_loopback_host(const std::string& host) {
  in_addr address;
  if (inet_pton(AF_INET, host.c_str(), &address) == 1) return (ntohl(address.s_addr) >> 24) == 127;
  return host == "localhost" || host == "[::1]";
}

// The host of a URL that may be called. The URL itself is in no message.
absl::StatusOr<std::string> host_of(const std::string& text) {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> url(curl_url(), curl_url_cleanup);
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
    return absl::InvalidArgumentError("is not a URL such as https://hooks.example.org/galleon");
  const std::string scheme = part_of(url.get(), CURLUPART_SCHEME);
  const std::string host = part_of(url.get(), CURLUPART_HOST);
  if (!part_of(url.get(), CURLUPART_USER).empty() || !part_of(url.get(), CURLUPART_PASSWORD).empty())
    return absl::InvalidArgumentError("has a user in it; secret_file signs what is sent");
  if (scheme != "https" && !(scheme == "http" && is_loopback_host(host)))
    return absl::InvalidArgumentError("must begin with https://, or with http:// and an address of loopback");
  return host;
}

class Reader {
 public:
  explicit Reader(absl::string_view file) : file_(file) {}

  absl::StatusOr<NotifyConfig> read(const YAML::Node& root) {
    NotifyConfig config;
    if (!root.IsMap()) return wrong(root, "a mapping with \"receivers\" is expected");
    for (const auto& entry : root) {
      const std::string key = text_of(entry.first);
      if (key == "waiting") {
        ASSIGN_OR_RETURN(config.waiting, duration(entry.second, "waiting: ", absl::Seconds(1), absl::Hours(24 * 30)));
      } else if (key == "receivers" && entry.second.IsMap() && entry.second.size() <= kMostReceivers) {
        for (const auto& receiver : entry.second) {
          ASSIGN_OR_RETURN(ReceiverConfig made, read_receiver(receiver.first, receiver.second));
          const auto same = [&made](const ReceiverConfig& other) { return other.name == made.name; };
          if (std::any_of(config.receivers.begin(), config.receivers.end(), same))
            return wrong(receiver.first, absl::StrCat(made.name, " is there twice"));
          config.receivers.push_back(std::move(made));
        }
      } else if (key == "receivers") {
        return wrong(entry.first,
                     absl::StrCat("receivers: a mapping of at most ", kMostReceivers, " names is expected"));
      } else {
        return wrong(entry.first, absl::StrCat("there is no key \"", key, "\"; there are waiting, receivers"));
      }
    }
    RETURN_IF_ERROR(settle_kinds(root, config));
    return config;
  }

 private:
  static std::string text_of(const YAML::Node& node) { return node.IsScalar() ? node.Scalar() : ""; }

  absl::Status wrong(const YAML::Node& at, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(file_, ":", at.Mark().line + 1, ": ", what));
  }

  absl::StatusOr<absl::Duration> duration(const YAML::Node& value, absl::string_view path, absl::Duration least,
                                          absl::Duration most) const {
    const std::optional<absl::Duration> parsed = parse_duration_text(text_of(value));
    if (parsed && *parsed >= least && *parsed <= most) return *parsed;
    return wrong(
        value, absl::StrCat(path, "\"", text_of(value), "\" is not a duration between ", duration_text(least), " and ",
                            duration_text(most), ", such as ", duration_text(std::min(most, absl::Seconds(30)))));
  }

  absl::StatusOr<ReceiverConfig> read_receiver(const YAML::Node& name, const YAML::Node& fields) const {
    ReceiverConfig receiver;
    receiver.name = text_of(name);
    if (!is_name(receiver.name)) {
      return wrong(name,
                   absl::StrCat("\"", receiver.name, "\" is not a name; 1 to 48 lower-case letters, digits and '-'"));
    }
    const std::string path = absl::StrCat("receivers.", receiver.name);
    if (!fields.IsMap()) return wrong(name, absl::StrCat(path, ": a mapping is expected"));
    for (const auto& field : fields) RETURN_IF_ERROR(read_field(field.first, field.second, receiver));
    if (receiver.url.empty()) return wrong(name, absl::StrCat(path, ": url or url_file must be given"));
    return receiver;
  }

  absl::Status read_field(const YAML::Node& name, const YAML::Node& value, ReceiverConfig& receiver) const {
    const std::string key = text_of(name);
    const std::string path = absl::StrCat("receivers.", receiver.name, ".", key, ": ");
    if (key == "url" || key == "url_file") {
      if (!receiver.url.empty()) return wrong(name, absl::StrCat(path, "give url or url_file, not both"));
      receiver.url = text_of(value);
      if (key == "url_file") {
        ASSIGN_OR_RETURN(receiver.url, read_secret(text_of(value)));
        receiver.url = std::string(absl::StripAsciiWhitespace(receiver.url));
      }
      const absl::StatusOr<std::string> host = host_of(receiver.url);
      if (!host.ok()) return wrong(value, absl::StrCat(path, std::string(host.status().message())));
      receiver.host = *host;
    } else if (key == "secret_file") {
      return read_signing_secret(value, path, receiver);
    } else if (key == "ca_file") {
      receiver.ca_file = text_of(value);
      return read_file(receiver.ca_file).status();
    } else if (key == "kinds" || key == "queues" || key == "owners") {
      return read_set(value, path,
                      key == "kinds"    ? receiver.kinds
                      : key == "queues" ? receiver.queues
                                        : receiver.owners);
    } else if (key == "timeout") {
      ASSIGN_OR_RETURN(receiver.timeout, duration(value, path, absl::Seconds(1), absl::Minutes(1)));
    } else {
      return wrong(name, absl::StrCat("receivers.", receiver.name, " has no key \"", key, "\"; there are ", kKeys));
    }
    return absl::OkStatus();
  }

  absl::Status read_signing_secret(const YAML::Node& value, const std::string& path, ReceiverConfig& receiver) const {
    ASSIGN_OR_RETURN(const std::string text, read_secret(text_of(value)));
    const absl::string_view line = absl::StripAsciiWhitespace(text);
    const bool decoded = absl::StartsWith(line, kSecretPrefix) &&
                         absl::Base64Unescape(line.substr(kSecretPrefix.size()), &receiver.secret);
    if (decoded && receiver.secret.size() >= kShortestSecret && receiver.secret.size() <= kLongestSecret)
      return absl::OkStatus();
    return wrong(value, absl::StrCat(path, text_of(value), " has no secret of ", kShortestSecret, " to ",
                                     kLongestSecret, " bytes; echo whsec_$(openssl rand -base64 32) makes one"));
  }

  absl::Status read_set(const YAML::Node& value, const std::string& path, std::set<std::string>& set) const {
    if (!value.IsSequence() || value.size() == 0) return wrong(value, absl::StrCat(path, "a list is expected"));
    for (const auto& entry : value) {
      if (text_of(entry).empty() || !set.insert(text_of(entry)).second)
        return wrong(entry, absl::StrCat(path, "\"", text_of(entry), "\" is empty, or there twice"));
    }
    return absl::OkStatus();
  }

  // Once it is known whether anybody is told of who waits.
  absl::Status settle_kinds(const YAML::Node& root, NotifyConfig& config) const {
    for (ReceiverConfig& receiver : config.receivers) {
      const std::string path = absl::StrCat("receivers.", receiver.name, ".kinds: ");
      const bool all = receiver.kinds.empty();
      for (const std::string& kind : receiver.kinds) {
        if (std::find(std::begin(kNotificationKinds), std::end(kNotificationKinds), kind) ==
            std::end(kNotificationKinds))
          return wrong(root["receivers"][receiver.name], absl::StrCat(path, "\"", kind, "\" is none; there are ",
                                                                      absl::StrJoin(kNotificationKinds, ", ")));
      }
      if (receiver.kinds.contains(kJobWaits) && config.waiting == absl::ZeroDuration()) {
        return wrong(root["receivers"][receiver.name],
                     absl::StrCat(path, kJobWaits, " needs the key waiting, such as waiting: 30m"));
      }
      if (all) receiver.kinds.insert(std::begin(kNotificationKinds), std::end(kNotificationKinds));
    }
    return absl::OkStatus();
  }

  const absl::string_view file_;
};

}  // namespace

absl::StatusOr<NotifyConfig> parse_notify(const std::string& yaml, absl::string_view file) {
  try {
    return Reader(file).read(YAML::Load(yaml));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file, ":", error.mark.line + 1, ": ", error.msg));
  }
}

absl::StatusOr<NotifyConfig> load_notify(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  return parse_notify(text, path);
}

absl::Status check_queues(const NotifyConfig& config, const std::set<std::string>& queues) {
  for (const ReceiverConfig& receiver : config.receivers) {
    for (const std::string& queue : receiver.queues) {
      if (queues.contains(queue)) continue;
      return absl::InvalidArgumentError(absl::StrCat("receivers.", receiver.name, ".queues: there is no queue \"",
                                                     queue, "\"; there are ", absl::StrJoin(queues, ", ")));
    }
  }
  return absl::OkStatus();
}

}  // namespace galleon::server
