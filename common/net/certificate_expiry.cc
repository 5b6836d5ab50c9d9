#include "common/net/certificate_expiry.h"

#include <utility>

#include "common/net/openssl.h"
#include "common/net/tls_watch.h"

namespace galleon {

absl::StatusOr<absl::Time> certificate_expiry(const std::string& pem) {
  const openssl::Bio text = openssl::bio_of(pem);
  const std::optional<absl::Time> end = openssl::end_of(openssl::read_certificate(text).get());
  if (!end) return absl::InvalidArgumentError("is no certificate in PEM");
  return *end;
}

WithCertificate::WithCertificate(std::shared_ptr<prometheus::Collectable> metrics, const TlsWatch* watch)
    : metrics_(std::move(metrics)), watch_(watch) {}

std::vector<prometheus::MetricFamily> WithCertificate::Collect() const {
  std::vector<prometheus::MetricFamily> families = metrics_->Collect();
  const auto add = [&families](const char* name, const char* help, double value) {
    prometheus::ClientMetric metric;
    metric.gauge.value = value;
    families.push_back({name, help, prometheus::MetricType::Gauge, {metric}});
  };
  if (const absl::StatusOr<absl::Time> end = certificate_expiry(watch_->in_use().certificate); end.ok()) {
    add("galleon_certificate_expiry_timestamp_seconds",
        "When the certificate of --tls that is in use ends, in seconds since 1970.",
        static_cast<double>(absl::ToUnixSeconds(*end)));
  }
  add("galleon_certificate_refused",
      "1 while what is in the folder of --tls cannot be used and what was there before is: empty, cut, or not a pair.",
      watch_->refused() ? 1 : 0);
  return families;
}

}  // namespace galleon
