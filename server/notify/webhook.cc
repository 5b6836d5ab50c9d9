#include "server/notify/webhook.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace galleon::server {

namespace {

constexpr size_t kLongestAnswer = 64 << 10;  // nothing of it is used
constexpr long kConnectMs = 5'000;

size_t discard(char*, size_t size, size_t count, void* taken) {
  size_t& bytes = *static_cast<size_t*>(taken);
  bytes += size * count;
  return bytes > kLongestAnswer ? 0 : size * count;
}

int stops(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(stop)->load() ? 1 : 0;
}

}  // namespace

std::string signature_of(const std::string& secret, const std::string& id, int64_t seconds, const std::string& body) {
  const std::string signed_text = absl::StrCat(id, ".", seconds, ".", body);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(signed_text.data()), signed_text.size(), digest, &size);
  return absl::StrCat("v1,", absl::Base64Escape(absl::string_view(reinterpret_cast<const char*>(digest), size)));
}

struct Webhook::Call {
  struct Free {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };
  std::unique_ptr<CURL, Free> handle{curl_easy_init()};
  const std::atomic<bool>* stop = nullptr;
};

Webhook::Webhook(ReceiverConfig config, const std::atomic<bool>* stop)
    : config_(std::move(config)), call_(std::make_unique<Call>()) {
  call_->stop = stop;
}

Webhook::~Webhook() = default;

absl::Status Webhook::post(const Notification& notification, absl::Time now) {
  CURL* curl = call_->handle.get();
  if (curl == nullptr) return absl::ResourceExhaustedError("libcurl has no handle");
  const int64_t seconds = absl::ToUnixSeconds(now);
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(nullptr, curl_slist_free_all);
  const auto add = [&headers](const std::string& line) {
    headers.reset(curl_slist_append(headers.release(), line.c_str()));
  };
  add("Content-Type: application/json");
  add("Expect:");
  add(absl::StrCat("User-Agent: galleon/", GALLEON_VERSION));
  add(absl::StrCat("webhook-id: ", notification.id));
  add(absl::StrCat("webhook-timestamp: ", seconds));
  if (!config_.secret.empty())
    add(absl::StrCat("webhook-signature: ", signature_of(config_.secret, notification.id, seconds, notification.body)));
  size_t answered = 0;
  char error[CURL_ERROR_SIZE] = "";
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_URL, config_.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,http");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_POST, 1L);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, notification.body.data());
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(notification.body.size()));
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(config_.timeout)));
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, kConnectMs);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answered);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, stops);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, call_->stop);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
  if (!config_.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, config_.ca_file.c_str());
  // What is on this machine is reached without a proxy.
  if (absl::StartsWith(config_.url, "http://")) curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  const CURLcode code = curl_easy_perform(curl);
  long answer = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer);
  // An answer that is longer than what is taken of it is an answer.
  if (code != CURLE_OK && !(code == CURLE_WRITE_ERROR && answer != 0))
    return absl::UnavailableError(absl::StrCat(config_.host, ": ", curl_easy_strerror(code)));
  if (answer >= 200 && answer < 300) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(config_.host, " answers ", answer,
                                             answer >= 300 && answer < 400 ? "; redirects are not followed" : ""));
}

}  // namespace galleon::server
