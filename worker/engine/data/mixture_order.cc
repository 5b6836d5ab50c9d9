#include "worker/engine/data/mixture_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/numeric/int128.h"
#include "common/base/check.h"

namespace galleon {

namespace {

constexpr int64_t kBlock = 4096;
// A double holds so many decimal digits, so that 0.3 and 0.7 are 3 and 7.
constexpr int kDigits = 15;

double scaled(double weight, int decimals) {
  if (decimals < 0) return weight / std::pow(10.0, -decimals);
  // Powers of ten end before doubles do.
  constexpr int kMost = 300;
  if (decimals > kMost) return weight * std::pow(10.0, kMost) * std::pow(10.0, decimals - kMost);
  return weight * std::pow(10.0, decimals);
}

std::vector<int64_t> whole_shares(const std::vector<double>& weights) {
  const double largest = *std::max_element(weights.begin(), weights.end());
  const int decimals = kDigits - 1 - static_cast<int>(std::floor(std::log10(largest)));
  std::vector<int64_t> shares;
  int64_t divisor = 0;
  for (const double weight : weights) {
    shares.push_back(std::llround(scaled(weight, decimals)));
    GALLEON_CHECK(shares.back() > 0) << "weight " << weight << " beside " << largest;
    divisor = std::gcd(divisor, shares.back());
  }
  for (int64_t& share : shares) share /= divisor;
  return shares;
}

// The stretch of places in which a source's next sequence lies.
struct Window {
  int64_t first = 0;
  int64_t end = 0;
};

Window window_of(int64_t number, int64_t share, int64_t period) {
  const auto before = absl::uint128(static_cast<uint64_t>(number)) * static_cast<uint64_t>(period);
  const auto behind = before + static_cast<uint64_t>(period);
  const auto divisor = static_cast<uint64_t>(share);
  return {static_cast<int64_t>(before / divisor), static_cast<int64_t>((behind + divisor - 1) / divisor)};
}

}  // namespace

MixtureOrder::MixtureOrder(const std::vector<double>& weights) : shares_(whole_shares(weights)) {
  period_ = std::accumulate(shares_.begin(), shares_.end(), int64_t{0});
  starts_.emplace_back(shares_.size(), 0);
}

void MixtureOrder::decode(int64_t block) {
  std::vector<int64_t> given = starts_[block];
  std::vector<Window> windows;
  for (size_t i = 0; i < shares_.size(); ++i) windows.push_back(window_of(given[i], shares_[i], period_));
  places_.clear();
  const int64_t end = std::min(period_, (block + 1) * kBlock);
  for (int64_t n = block * kBlock; n < end; ++n) {
    size_t next = shares_.size();
    for (size_t i = 0; i < shares_.size(); ++i) {
      if (windows[i].first > n) continue;
      if (next == shares_.size() || windows[i].end < windows[next].end) next = i;
    }
    GALLEON_CHECK(next < shares_.size() && windows[next].end > n) << "no source for place " << n;
    places_.push_back({next, given[next]});
    windows[next] = window_of(++given[next], shares_[next], period_);
  }
  if (static_cast<int64_t>(starts_.size()) == block + 1) starts_.push_back(std::move(given));
  decoded_ = block;
}

// Decodes the block of the period that place n lies in, and all before it that have not been yet.
int64_t MixtureOrder::block_of(int64_t n) {
  const int64_t block = n % period_ / kBlock;
  while (decoded_ != block) decode(std::min(block, static_cast<int64_t>(starts_.size()) - 1));
  return block;
}

MixtureOrder::Place MixtureOrder::place(int64_t n) {
  const int64_t block = block_of(n);
  Place place = places_[n % period_ - block * kBlock];
  place.number += n / period_ * shares_[place.source];
  return place;
}

std::vector<int64_t> MixtureOrder::given(int64_t n) {
  const int64_t block = block_of(n);
  std::vector<int64_t> given = starts_[block];
  for (int64_t i = 0; i < n % period_ - block * kBlock; ++i) ++given[places_[i].source];
  for (size_t i = 0; i < shares_.size(); ++i) given[i] += n / period_ * shares_[i];
  return given;
}

}  // namespace galleon
