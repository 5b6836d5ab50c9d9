// A corpus as one row of tokens, cut into windows of T inputs and the T targets one later.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/options.h"

namespace galleon {

// The tokens of all files of `globs`, documents joined by the end token; `key` names the job file's key in errors.
// Token files may hold ids below `vocabulary` only. INVALID_ARGUMENT: nothing in it, or a bad id with its file and
// place.
absl::StatusOr<std::vector<int32_t>> load_tokens(const DataOptions& options, const std::vector<std::string>& globs,
                                                 const std::string& key, const Tokenizer* tokenizer,
                                                 int64_t vocabulary);

// Window i covers tokens [i·T, i·T + T]. Which windows a step sees depends on its number alone, not on the ranks.
class Windows {
 public:
  // INVALID_ARGUMENT: the corpus is shorter than one sequence and its last target.
  static absl::StatusOr<Windows> create(std::vector<int32_t> tokens, int64_t sequence_length, bool shuffle,
                                        uint64_t seed, const std::string& key);

  int64_t count() const { return count_; }
  int64_t tokens() const { return static_cast<int64_t>(tokens_.size()); }
  // The n-th window that training sees, n counted from 0 without end: epoch n / count, shuffled anew in each epoch.
  void training_window(int64_t n, int32_t* inputs, int32_t* targets) const;
  // Window i in order.
  void window(int64_t i, int32_t* inputs, int32_t* targets) const;

 private:
  std::vector<int32_t> tokens_;
  int64_t sequence_length_ = 0;
  int64_t count_ = 0;
  bool shuffle_ = false;
  uint64_t seed_ = 0;
};

// Entropy of the distribution of single tokens, in nats: what a model without context can reach.
double unigram_entropy(const std::vector<int32_t>& tokens, int64_t vocabulary);

}  // namespace galleon
