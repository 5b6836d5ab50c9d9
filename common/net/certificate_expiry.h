// When a daemon's certificate ends, as a metric beside its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace galleon {

// The end of the first certificate of some PEM. INVALID_ARGUMENT: it is none.
absl::StatusOr<absl::Time> certificate_expiry(const std::string& pem);

// What `metrics` collects, and galleon_certificate_expiry_timestamp_seconds of FOLDER/cert.pem, read whenever it is
// asked. Without it where that is no certificate.
class WithCertificateExpiry final : public prometheus::Collectable {
 public:
  WithCertificateExpiry(std::shared_ptr<prometheus::Collectable> metrics, std::string folder);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Collectable> metrics_;
  const std::string folder_;
};

}  // namespace galleon
