#include "worker/engine/run/run_checkpoints.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/run/agreement.h"

namespace galleon {

absl::Status RunCheckpoints::start(int64_t step) {
  last_saved_ = step;
  absl::Status started;
  // Rank 0 copies checkpoints.
  if (!options_.checkpoint_copy_to.empty() && communicator_.rank() == 0) {
    absl::StatusOr<std::unique_ptr<CheckpointCopier>> copier = CheckpointCopier::start(
        options_.checkpoint_folder, options_.checkpoint_copy_to, options_.checkpoint_keep, step);
    started = copier.status();
    if (copier.ok()) copier_ = *std::move(copier);
  }
  return agree(communicator_, started);
}

absl::Status RunCheckpoints::save(const CheckpointHeader& header, const CheckpointContent& content) {
  if (absl::Status s = writer_.begin(header, content); !s.ok()) return not_saved(header.step, s);
  return absl::OkStatus();
}

absl::Status RunCheckpoints::publish() {
  const int64_t step = writer_.step();
  const absl::Status published = writer_.publish(
      [this](int64_t number, const std::string& folder) { return observer_.approve_checkpoint(number, folder); });
  if (!published.ok()) return not_saved(step, published);
  last_saved_ = step;
  if (copier_ != nullptr) copier_->add(step);
  if (communicator_.rank() == 0) {
    prune_checkpoints(options_.checkpoint_folder, options_.checkpoint_keep, epoch_,
                      copier_ != nullptr ? copier_->copying() : 0);
  }
  observer_.published(step, absl::StrCat(options_.checkpoint_folder, "/", step_folder_name(step)));
  return absl::OkStatus();
}

bool RunCheckpoints::tell_of_copies() {
  if (copier_ == nullptr) return false;
  const std::vector<std::string> notes = copier_->notes();
  for (const std::string& note : notes) observer_.stage("copy", note);
  return !notes.empty();
}

absl::Status RunCheckpoints::finish_copies() {
  absl::Status finished;
  if (copier_ != nullptr) finished = copier_->finish();
  tell_of_copies();
  return agree(communicator_, finished);
}

absl::Status RunCheckpoints::not_saved(int64_t step, const absl::Status& why) const {
  return absl::Status(why.code(),
                      absl::StrCat("the checkpoint of step ", step, " could not be saved: ", why.message(),
                                   last_saved_ > 0 ? absl::StrCat("; step ", last_saved_, " is kept") : ""));
}

absl::Status RunCheckpoints::saved_before(const absl::Status& why) const {
  return absl::Status(
      why.code(),
      absl::StrCat(why.message(),
                   last_saved_ > 0 ? absl::StrCat("; the checkpoint of step ", last_saved_, " is kept") : ""));
}

}  // namespace galleon
