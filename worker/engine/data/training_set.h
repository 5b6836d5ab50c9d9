// The data of training: one corpus, or a mixture of several, each with its weight.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/training_order.h"

namespace galleon {

// What data.train asks for: which corpora, and of which name, key and globs each is.
struct TrainingPart {
  std::string name;  // of its token cache
  std::string key;   // of the job file
  std::vector<std::string> globs;
  double weight = 1;
};
// One for all entries, or one for each where they have weights.
std::vector<TrainingPart> training_parts(const DataOptions& options);

// "75 % from a/*.txt, 25 % from b/*.txt"; empty where nothing is mixed.
std::string mixture_shares(const DataOptions& options);

class TrainingSet {
 public:
  explicit TrainingSet(const DataOptions& options) : mixed_(!options.train_weights.empty()) {}
  void add(const TrainingPart& part, std::unique_ptr<Corpus> corpus);

  // Two sets with the same one give the same sequences; with weights it names them.
  std::string fingerprint() const;
  // As those of a corpus, of all of them. An epoch has as many sequences as all of them together.
  absl::Status wait_for_start();
  absl::StatusOr<StoreProgress> wait_for_all();
  absl::Status error();
  std::vector<std::string> notes();
  int64_t bad_rows();
  TrainingOrder order() const;
  // Of those sources that have them; nullopt: none has.
  std::optional<DocumentTokens> around_documents() const;

  bool mixed() const { return mixed_; }
  // Of a mixture, what the first `sequences` that training sees are made of.
  std::string describe_given(int64_t sequences) const;
  // The same with how often each source is passed through; empty before all sources are known.
  absl::StatusOr<std::string> describe_passes(int64_t sequences);

 private:
  struct Source {
    TrainingPart part;
    std::unique_ptr<Corpus> corpus;
  };
  std::vector<double> weights() const;

  bool mixed_;
  std::vector<Source> sources_;
};

}  // namespace galleon
