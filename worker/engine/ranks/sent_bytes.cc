#include "worker/engine/ranks/sent_bytes.h"

namespace galleon {

absl::string_view collective_name(Collective collective) {
  switch (collective) {
    case Collective::kReduceScatter:
      return "reduce_scatter";
    case Collective::kAllGather:
      return "all_gather";
    case Collective::kAllReduce:
      return "all_reduce";
    case Collective::kReduce:
      return "reduce";
    case Collective::kBroadcast:
      return "broadcast";
  }
  return "unknown";
}

absl::string_view content_name(Content content) {
  switch (content) {
    case Content::kProjectedGradient:
      return "projected_gradient";
    case Content::kUpdate:
      return "update";
    case Content::kDenseGradient:
      return "dense_gradient";
    case Content::kProjectedDense:
      return "projected_dense";
    case Content::kWeight:
      return "weight";
    case Content::kStatistic:
      return "statistic";
    case Content::kSubspace:
      return "subspace";
  }
  return "unknown";
}

int64_t SentBytes::of(Collective collective) const {
  int64_t sum = 0;
  for (const int64_t n : bytes[static_cast<int>(collective)]) sum += n;
  return sum;
}

int64_t SentBytes::of(Content content) const {
  int64_t sum = 0;
  for (const auto& of_collective : bytes) sum += of_collective[static_cast<int>(content)];
  return sum;
}

int64_t SentBytes::total() const {
  int64_t sum = 0;
  for (int i = 0; i < kCollectives; ++i) sum += of(static_cast<Collective>(i));
  return sum;
}

SentBytes& SentBytes::operator+=(const SentBytes& other) {
  for (int i = 0; i < kCollectives; ++i) {
    for (int j = 0; j < kContents; ++j) bytes[i][j] += other.bytes[i][j];
  }
  return *this;
}

SentBytes SentBytes::operator-(const SentBytes& other) const {
  SentBytes difference = *this;
  for (int i = 0; i < kCollectives; ++i) {
    for (int j = 0; j < kContents; ++j) difference.bytes[i][j] -= other.bytes[i][j];
  }
  return difference;
}

}  // namespace galleon
