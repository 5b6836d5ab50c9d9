// Which source of a mixture each sequence of training comes from. Source i has the share w_i / Σw: after n sequences it
// has given floor(n·share) or ceil(n·share) of them, whatever n is. Its j-th sequence, j counted from 0, may be drawn
// from place floor(j / share) on and has to be before place ceil((j + 1) / share). Of those that may be drawn, the one
// whose end is nearest is, which keeps to all ends (Baruah et al. 1996, proportionate progress; earliest deadline first
// on one processor).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace galleon {

class MixtureOrder {
 public:
  // Weights are finite, greater than 0, and at most 1e9 times one another. They count to 15 digits of the largest.
  explicit MixtureOrder(const std::vector<double>& weights);

  struct Place {
    size_t source = 0;
    int64_t number = 0;  // among what this source gives, counted from 0 without end
    bool operator==(const Place&) const = default;
  };
  // The n-th sequence that training sees, n counted from 0 without end. A place is quick to tell near the one before,
  // and takes some ns for each before it once.
  Place place(int64_t n);
  // By source, how many of the first n are its own.
  std::vector<int64_t> given(int64_t n);

 private:
  int64_t block_of(int64_t n);
  void decode(int64_t block);

  std::vector<int64_t> shares_;               // whole numbers without a common divisor
  int64_t period_ = 0;                        // their sum: after so many sequences each source has given its share
  std::vector<std::vector<int64_t>> starts_;  // by block of the period, what each source has given before it
  int64_t decoded_ = -1;                      // the block that `places_` holds
  std::vector<Place> places_;
};

}  // namespace galleon
