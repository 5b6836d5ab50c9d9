#include "worker/engine/run/left_checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

struct Left {
  int64_t step = 0;
  uint64_t epoch = 0;
};

// Newest first.
std::vector<Left> list_left(const std::string& folder, int64_t recorded, uint64_t epoch) {
  std::vector<Left> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const std::vector<absl::string_view> parts = absl::StrSplit(name, '.');
    if (parts.size() != 3) continue;
    absl::string_view step = parts[1];
    absl::string_view of = parts[2];
    Left left;
    if (absl::ConsumePrefix(&step, "step-") && absl::ConsumePrefix(&of, "epoch-") &&
        absl::SimpleAtoi(step, &left.step) && absl::SimpleAtoi(of, &left.epoch) &&
        name == pending_folder_name(left.step, left.epoch) && left.step > recorded && left.epoch < epoch)
      found.push_back(left);
  }
  std::sort(found.begin(), found.end(),
            [](const Left& a, const Left& b) { return a.step != b.step ? a.step > b.step : a.epoch > b.epoch; });
  return found;
}

}  // namespace

absl::StatusOr<int64_t> publish_left_checkpoint(const std::string& folder, int64_t recorded, uint64_t epoch,
                                                const std::function<bool(const CheckpointHeader&)>& usable,
                                                const PublicationGate& gate) {
  for (const Left& left : list_left(folder, recorded, epoch)) {
    const std::string path = absl::StrCat(folder, "/", pending_folder_name(left.step, left.epoch));
    const absl::StatusOr<CheckpointHeader> header = read_checkpoint_header(path);
    if (!header.ok() || header->step != left.step || !usable(*header) || !verify_checkpoint(path, true).ok()) continue;
    // Under this epoch first: should this trainer die behind the gate, the next one finds it by that name.
    const std::string ours = absl::StrCat(folder, "/", pending_folder_name(left.step, epoch));
    std::error_code error;
    fs::rename(path, ours, error);
    if (error) return errno_status("cannot rename", path, error.value());
    RETURN_IF_ERROR(sync_folder(folder));
    const absl::Status allowed = gate(left.step, absl::StrCat(folder, "/", step_folder_name(left.step)));
    if (!allowed.ok()) {
      log_warning("the checkpoint of step ", left.step,
                  " that an earlier attempt left is not used: ", std::string(allowed.message()));
      continue;
    }
    RETURN_IF_ERROR(publish_checkpoint(folder, left.step, epoch));
    log_info("goes on with the checkpoint of step ", left.step, ", which an earlier attempt could not publish");
    return left.step;
  }
  return 0;
}

}  // namespace galleon
