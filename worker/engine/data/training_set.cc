#include "worker/engine/data/training_set.h"

#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/mixture_order.h"

namespace galleon {

std::vector<TrainingPart> training_parts(const DataOptions& options) {
  if (options.train_weights.empty()) return {{"train", "data.train", options.train, 1}};
  std::vector<TrainingPart> parts;
  for (size_t i = 0; i < options.train.size(); ++i) {
    parts.push_back(
        {absl::StrCat("train-", i), absl::StrCat("data.train[", i, "]"), {options.train[i]}, options.train_weights[i]});
  }
  return parts;
}

std::string mixture_shares(const DataOptions& options) {
  const double sum = std::accumulate(options.train_weights.begin(), options.train_weights.end(), 0.0);
  std::vector<std::string> shares;
  for (size_t i = 0; i < options.train_weights.size(); ++i)
    shares.push_back(absl::StrFormat("%.4g %% from %s", 100 * options.train_weights[i] / sum, options.train[i]));
  return absl::StrJoin(shares, ", ");
}

void TrainingSet::add(const TrainingPart& part, std::unique_ptr<Corpus> corpus) {
  sources_.push_back({part, std::move(corpus)});
}

std::vector<double> TrainingSet::weights() const {
  std::vector<double> weights;
  for (const Source& source : sources_) weights.push_back(source.part.weight);
  return weights;
}

std::string TrainingSet::fingerprint() const {
  if (!mixed_) return sources_.front().corpus->fingerprint();
  std::vector<std::string> parts;
  for (const Source& source : sources_)
    parts.push_back(absl::StrFormat("%s weight %.17g", source.corpus->fingerprint(), source.part.weight));
  return absl::StrJoin(parts, ", ");
}

absl::Status TrainingSet::wait_for_start() {
  for (Source& source : sources_) RETURN_IF_ERROR(source.corpus->wait_for_start().status());
  return absl::OkStatus();
}

absl::StatusOr<StoreProgress> TrainingSet::wait_for_all() {
  StoreProgress all{0, true, 0};
  for (Source& source : sources_) {
    ASSIGN_OR_RETURN(StoreProgress one, source.corpus->wait_for_all());
    all.sequences += one.sequences;
    all.tokens += one.tokens;
  }
  return all;
}

absl::Status TrainingSet::error() {
  for (Source& source : sources_) RETURN_IF_ERROR(source.corpus->store().error());
  return absl::OkStatus();
}

std::vector<std::string> TrainingSet::notes() {
  std::vector<std::string> notes;
  for (Source& source : sources_)
    for (std::string& note : source.corpus->store().notes()) notes.push_back(std::move(note));
  return notes;
}

int64_t TrainingSet::bad_rows() {
  int64_t rows = 0;
  for (Source& source : sources_) rows += source.corpus->store().bad_rows();
  return rows;
}

TrainingOrder TrainingSet::order() const {
  std::vector<TrainingSource> sources;
  for (const Source& source : sources_)
    sources.push_back({&source.corpus->store(), source.corpus->order(), source.part.weight});
  return TrainingOrder(sources);
}

std::string TrainingSet::describe_given(int64_t sequences) const {
  const std::vector<int64_t> given = MixtureOrder(weights()).given(sequences);
  std::vector<std::string> parts;
  for (size_t i = 0; i < given.size(); ++i)
    parts.push_back(absl::StrCat(given[i], i == 0 ? " sequences from " : " from ", sources_[i].part.globs.front()));
  return absl::StrJoin(parts, ", ");
}

absl::StatusOr<std::string> TrainingSet::describe_passes(int64_t sequences) {
  const std::vector<int64_t> given = MixtureOrder(weights()).given(sequences);
  std::vector<std::string> parts;
  for (size_t i = 0; i < given.size(); ++i) {
    ASSIGN_OR_RETURN(StoreProgress one,
                     sources_[i].corpus->store().wait_for(std::numeric_limits<int64_t>::max(), absl::ZeroDuration()));
    if (!one.complete) return "";
    parts.push_back(absl::StrFormat("%d%s from %s, which has %d (%.3g passes)", given[i], i == 0 ? " sequences" : "",
                                    sources_[i].part.globs.front(), one.sequences,
                                    static_cast<double>(given[i]) / static_cast<double>(one.sequences)));
  }
  return absl::StrJoin(parts, "; ");
}

std::optional<DocumentTokens> TrainingSet::around_documents() const {
  for (const Source& source : sources_)
    if (const std::optional<DocumentTokens> around = source.corpus->around_documents()) return around;
  return std::nullopt;
}

}  // namespace galleon
