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

class TlsWatch;

// The end of the first certificate of some PEM. INVALID_ARGUMENT: it is none.
absl::StatusOr<absl::Time> certificate_expiry(const std::string& pem);

// What `metrics` collects, and of the certificate of a daemon: galleon_certificate_expiry_timestamp_seconds of the one
// in use, and galleon_certificate_refused, whether another one in its folder cannot be used. The watch outlives it.
class WithCertificate final : public prometheus::Collectable {
 public:
  WithCertificate(std::shared_ptr<prometheus::Collectable> metrics, const TlsWatch* watch);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<prometheus::Collectable> metrics_;
  const TlsWatch* watch_;
};

}  // namespace galleon
