// One call to a receiver: a POST of JSON in the manner of Standard Webhooks (standardwebhooks.com).
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/notify/notification.h"

namespace galleon::server {

// The value of the header "webhook-signature": "v1," and the base64 of HMAC-SHA256 over "ID.SECONDS.BODY".
std::string signature_of(const std::string& secret, const std::string& id, int64_t seconds, const std::string& body);

class Webhook {
 public:
  // Reuses its connection. `stop`: calls end soon after it is set.
  Webhook(ReceiverConfig config, const std::atomic<bool>* stop);
  ~Webhook();

  // OK: it answered 2xx within its timeout. Else what it answered, or why it could not be reached; without the URL.
  absl::Status post(const Notification& notification, absl::Time now);

 private:
  struct Call;
  const ReceiverConfig config_;
  const std::unique_ptr<Call> call_;
};

}  // namespace galleon::server
