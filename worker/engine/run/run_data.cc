#include "worker/engine/run/run_data.h"

#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/run/agreement.h"
#include "worker/engine/run/epochs.h"

namespace galleon {

absl::Status RunData::load() {
  const std::vector<std::string>& globs = options_.data.train;
  observer_.stage("tokenize",
                  absl::StrCat("data.train: ", globs.size() == 1 ? globs[0] : absl::StrCat(globs.size(), " globs")));
  const std::vector<TrainingPart> parts = training_parts(options_.data);
  if (train_.mixed())
    observer_.stage("tokenize", absl::StrCat("data.train is a mixture: ", mixture_shares(options_.data)));
  for (const TrainingPart& part : parts) {
    std::unique_ptr<Corpus> corpus;
    RETURN_IF_ERROR(open(part, static_cast<int>(parts.size()), corpus));
    train_.add(part, std::move(corpus));
  }
  if (!options_.data.validation.empty())
    RETURN_IF_ERROR(open({"validation", "data.validation", options_.data.validation}, 1, validation_));
  absl::Status begun = train_.wait_for_start();
  if (begun.ok() && validation_ != nullptr) begun = validation_->wait_for_start().status();
  RETURN_IF_ERROR(agree(communicator_, begun));
  for (const std::string& note : train_.notes()) observer_.stage("tokenize", note);
  if (validation_ == nullptr) return absl::OkStatus();
  for (const std::string& note : validation_->store().notes()) observer_.stage("tokenize", note);
  return absl::OkStatus();
}

// Rank 0 begins to make what the others read.
absl::Status RunData::open(const TrainingPart& part, int made_together, std::unique_ptr<Corpus>& corpus) {
  CorpusRequest request;
  request.options = options_.data;
  request.globs = part.globs;
  request.name = part.name;
  request.key = part.key;
  request.made_together = made_together;
  request.tokenizer = job_.tokenizer.get();
  request.vocabulary = job_.config.vocabulary;
  request.labels = job_.labels;
  request.chat_template = job_.chat_template;
  request.folder = folder_;
  request.shared = shared_;
  absl::StatusOr<std::unique_ptr<Corpus>> opened = absl::UnknownError("");
  if (communicator_.rank() == 0) opened = Corpus::make(request);
  const std::vector<std::string> told =
      communicator_.all_gather_text(communicator_.rank() != 0 || !opened.ok() ? "" : (*opened)->description());
  RETURN_IF_ERROR(communicator_.status());
  if (communicator_.rank() != 0) {
    opened = absl::UnavailableError(absl::StrCat("rank 0 could not open ", request.key));
    if (!told[0].empty()) opened = Corpus::join(request, told[0]);
  }
  RETURN_IF_ERROR(agree(communicator_, opened.status()));
  corpus = *std::move(opened);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> RunData::count_steps() {
  ASSIGN_OR_RETURN(const StoreProgress all, train_.wait_for_all());
  ASSIGN_OR_RETURN(const int64_t steps, steps_of_epochs(options_, all.sequences));
  observer_.stage("tokenize", describe_epochs(options_, steps, all.sequences));
  return steps;
}

std::optional<int64_t> RunData::sequences_of(int64_t steps) {
  if (options_.last_batch == LastBatch::kWrap) return sequences_of_steps(options_, steps, 0);
  TrainingOrder order = train_.order();
  const absl::StatusOr<StoreProgress> all =
      order.wait_for(std::numeric_limits<int64_t>::max() / 2, absl::ZeroDuration());
  if (!all.ok() || !all->complete) return std::nullopt;
  return sequences_of_steps(options_, steps, all->sequences);
}

bool RunData::tell_passes(int64_t steps) {
  if (!train_.mixed() || passes_told_ || communicator_.rank() != 0) return false;
  const std::optional<int64_t> sequences = sequences_of(steps);
  if (!sequences.has_value()) return false;
  const absl::StatusOr<std::string> passes = train_.describe_passes(*sequences);
  if (!passes.ok() || passes->empty()) return false;
  observer_.stage("tokenize", absl::StrCat("the mixture of ", steps, " steps: ", *passes));
  return passes_told_ = true;
}

int64_t RunData::bad_rows() {
  return train_.bad_rows() + (validation_ == nullptr ? 0 : validation_->store().bad_rows());
}

}  // namespace galleon
