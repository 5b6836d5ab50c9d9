#include "common/net/certificate_expiry.h"

#include <utility>

#include "common/base/files.h"
#include "common/net/openssl.h"

namespace galleon {

absl::StatusOr<absl::Time> certificate_expiry(const std::string& pem) {
  const openssl::Bio text = openssl::bio_of(pem);
  const std::optional<absl::Time> end = openssl::end_of(openssl::read_certificate(text).get());
  if (!end) return absl::InvalidArgumentError("is no certificate in PEM");
  return *end;
}

WithCertificateExpiry::WithCertificateExpiry(std::shared_ptr<prometheus::Collectable> metrics, std::string folder)
    : metrics_(std::move(metrics)), folder_(std::move(folder)) {}

std::vector<prometheus::MetricFamily> WithCertificateExpiry::Collect() const {
  std::vector<prometheus::MetricFamily> families = metrics_->Collect();
  const absl::StatusOr<std::string> pem = read_file(folder_ + "/cert.pem");
  const absl::StatusOr<absl::Time> end = pem.ok() ? certificate_expiry(*pem) : pem.status();
  if (!end.ok()) return families;
  prometheus::ClientMetric metric;
  metric.gauge.value = static_cast<double>(absl::ToUnixSeconds(*end));
  families.push_back({"galleon_certificate_expiry_timestamp_seconds",
                      "When the certificate of --tls ends, in seconds since 1970",
                      prometheus::MetricType::Gauge,
                      {metric}});
  return families;
}

}  // namespace galleon
