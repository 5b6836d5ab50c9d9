// What ranks send each other, counted by operation and by what the buffer carries.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace galleon {

enum class Collective { kReduceScatter, kAllGather, kAllReduce, kReduce, kBroadcast };
inline constexpr int kCollectives = 5;
// "reduce_scatter", "all_gather", "all_reduce", "reduce", "broadcast".
absl::string_view collective_name(Collective collective);

// What a buffer holds. Every collective is told, so that it can be shown what never leaves a rank.
enum class Content {
  kProjectedGradient,  // of a projected matrix, in its subspace
  kUpdate,             // what a moment rule made of a gradient
  kDenseGradient,      // of a parameter that is not projected
  kProjectedDense,     // the dense gradient of a projected matrix
  kWeight,
  kStatistic,  // partial sums that cross rows, estimates
  kSubspace,   // bases, and the products of rank r that they are found from
};
inline constexpr int kContents = 7;
// "projected_gradient", "update", "dense_gradient", "projected_dense", "weight", "statistic", "subspace".
absl::string_view content_name(Content content);

struct SentBytes {
  int64_t bytes[kCollectives][kContents] = {};

  int64_t& of(Collective collective, Content content) {
    return bytes[static_cast<int>(collective)][static_cast<int>(content)];
  }
  int64_t of(Collective collective) const;
  int64_t of(Content content) const;
  int64_t total() const;
  SentBytes& operator+=(const SentBytes& other);
  SentBytes operator-(const SentBytes& other) const;
  bool operator==(const SentBytes& other) const = default;
};

}  // namespace galleon
