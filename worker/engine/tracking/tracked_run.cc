#include "worker/engine/tracking/tracked_run.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;

template <typename Value>
void take(const Json& json, const char* key, Value& value) {
  // What is of another type is left as if it were not there.
  try {
    if (json.contains(key)) value = json[key].get<Value>();
  } catch (const Json::exception&) {
    value = Value();
  }
}

}  // namespace

absl::StatusOr<TrackedRun> read_tracked_run(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return absl::NotFoundError(absl::StrCat(path, " holds no run"));
  TrackedRun run;
  take(json, "address", run.address);
  take(json, "experiment", run.experiment);
  take(json, "mathematics", run.mathematics);
  take(json, "key", run.key);
  take(json, "run_id", run.run_id);
  take(json, "experiment_id", run.experiment_id);
  take(json, "parameters_sent", run.parameters_sent);
  take(json, "step", run.step);
  take(json, "evaluation", run.evaluation);
  take(json, "status", run.status);
  return run;
}

absl::Status write_tracked_run(const std::string& path, const TrackedRun& run) {
  const Json json = {{"address", run.address},
                     {"experiment", run.experiment},
                     {"experiment_id", run.experiment_id},
                     {"run_id", run.run_id},
                     {"key", run.key},
                     {"mathematics", run.mathematics},
                     {"parameters_sent", run.parameters_sent},
                     {"step", run.step},
                     {"evaluation", run.evaluation},
                     {"status", run.status}};
  return write_file_atomically(path, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace galleon
