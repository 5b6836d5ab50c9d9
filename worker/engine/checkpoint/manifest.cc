#include "worker/engine/checkpoint/manifest.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/files.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/safetensors.h"
#include "worker/engine/ground/json_fields.h"

namespace galleon {

namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr int kFormatVersion = 1;

// [interval, not before, streak] by parameter.
Json paces_to_json(const std::vector<RefreshPace>& paces) {
  Json json = Json::array();
  for (const RefreshPace& pace : paces) json.push_back({pace.interval, pace.not_before, pace.streak});
  return json;
}

std::vector<RefreshPace> paces_from_json(JsonFields& fields, const std::string& path, absl::Status& status) {
  std::vector<RefreshPace> paces;
  for (const Json& pace : fields.array("refresh_paces")) {
    // As an object, so that what is wrong has a name.
    const Json named = {{"pace", pace}};
    JsonFields field(named, absl::StrCat(path, ": refresh_paces"));
    const std::vector<int64_t> numbers = field.integers("pace", 0, kMostCounted);
    status.Update(field.status());
    if (status.ok() && numbers.size() != 3)
      status = absl::DataLossError(
          absl::StrCat(path, " is damaged: a pace of refresh_paces has ", numbers.size(), " numbers; 3 are accepted"));
    if (!status.ok()) return {};
    paces.push_back({numbers[0], numbers[1], numbers[2]});
  }
  return paces;
}

Json tokens_to_json(const std::optional<RecordedTokens>& tokens) {
  if (!tokens.has_value()) return nullptr;
  return {{"begin", tokens->begin}, {"end", tokens->end}};
}

Json mean_to_json(const RunningMean& mean) {
  // JSON has no word for what is not finite, and a checkpoint is worth more than a line of metrics.
  const bool sound = std::isfinite(mean.sum) && std::isfinite(mean.last) && mean.sum >= 0 && mean.last >= 0;
  const RunningMean kept = sound ? mean : RunningMean();
  return {{"sum", kept.sum}, {"count", kept.count}, {"last", kept.last}};
}

RunningMean mean_from_json(JsonFields& means, const char* name, const std::string& path, absl::Status& status) {
  JsonFields fields(means.object(name), absl::StrCat(path, ": ", name));
  const RunningMean mean{fields.number("sum", 0), fields.integer("count", 0, kMostCounted), fields.number("last", 0)};
  status.Update(fields.status());
  return mean;
}

Json means_to_json(const SubspaceMeans& means) {
  return {
      {"overlap", mean_to_json(means.overlap)}, {"energy", mean_to_json(means.energy)}, {"refreshed", means.refreshed}};
}

absl::StatusOr<SubspaceMeans> means_from_json(JsonFields& manifest, const std::string& path) {
  const std::string where = absl::StrCat(path, ": subspaces");
  JsonFields fields(manifest.object("subspaces"), where);
  absl::Status status;
  SubspaceMeans means;
  means.overlap = mean_from_json(fields, "overlap", where, status);
  means.energy = mean_from_json(fields, "energy", where, status);
  means.refreshed = fields.integer("refreshed", 0, kMostCounted);
  status.Update(fields.status());
  if (!status.ok()) return status;
  return means;
}

Json to_json(const CheckpointHeader& h) {
  return {{"format_version", kFormatVersion},
          {"job", h.job},
          {"mathematics", h.mathematics},
          {"data_changes", h.data_changes},
          {"step", h.step},
          {"schedule_steps", h.schedule_steps},
          {"decay_steps", h.decay_steps},
          {"warmup_steps", h.warmup_steps},
          {"tokens", h.tokens},
          {"seconds", h.seconds},
          {"ranks", h.ranks},
          {"epoch", h.epoch},
          {"weights_hash", h.weights_hash},
          {"document_tokens", tokens_to_json(h.document_tokens)},
          {"counts", h.counts},
          {"refresh_paces", paces_to_json(h.paces)},
          {"subspaces", means_to_json(h.subspaces)}};
}

absl::StatusOr<Json> read_manifest(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", kManifest);
  ASSIGN_OR_RETURN(const std::string text, read_to_parse(path));
  ASSIGN_OR_RETURN(Json json, parse_json_object(text, path));
  JsonFields fields(json, path);
  const int64_t version = fields.integer("format_version", 0, std::numeric_limits<int32_t>::max());
  fields.integer("step", 0, kMostCounted);
  fields.object("files");
  RETURN_IF_ERROR(fields.status());
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " has format version ", version, "; this program reads version ", kFormatVersion));
  }
  return json;
}

absl::StatusOr<CheckpointHeader> header_from_json(const Json& json, const std::string& folder) {
  constexpr int64_t kMostRanks = 1 << 16;
  constexpr int64_t kMostTokens = int64_t{1} << 60;
  constexpr int64_t kMostIds = std::numeric_limits<int32_t>::max();
  const std::string path = absl::StrCat(folder, "/", kManifest);
  JsonFields fields(json, path);
  absl::Status paces;
  CheckpointHeader h;
  h.job = fields.text("job");
  h.mathematics = fields.text("mathematics");
  if (fields.has("data_changes")) h.data_changes = fields.texts("data_changes");
  h.step = fields.integer("step", 0, kMostCounted);
  h.schedule_steps = fields.integer("schedule_steps", 0, kMostCounted);
  if (fields.has("decay_steps")) h.decay_steps = fields.integer("decay_steps", 0, kMostCounted);
  h.warmup_steps = fields.integer("warmup_steps", 0, kMostCounted);
  h.tokens = fields.integer("tokens", 0, kMostTokens);
  h.seconds = fields.number("seconds", 0);
  h.ranks = fields.integer("ranks", 1, kMostRanks);
  h.epoch = fields.bits("epoch");
  h.weights_hash = fields.bits("weights_hash");
  h.counts = fields.integers("counts", 0, kMostCounted);
  if (fields.has("document_tokens")) {
    JsonFields tokens(fields.object("document_tokens"), absl::StrCat(path, ": document_tokens"));
    h.document_tokens = {static_cast<int32_t>(tokens.integer("begin", -1, kMostIds)),
                         static_cast<int32_t>(tokens.integer("end", -1, kMostIds))};
    RETURN_IF_ERROR(tokens.status());
  }
  // Checkpoints from before lazy refresh have none.
  h.paces =
      fields.has("refresh_paces") ? paces_from_json(fields, path, paces) : std::vector<RefreshPace>(h.counts.size());
  // Those of older versions begin their lines anew.
  if (fields.has("subspaces")) {
    ASSIGN_OR_RETURN(h.subspaces, means_from_json(fields, path));
  }
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(paces);
  return h;
}

}  // namespace

std::string step_folder_name(int64_t step) {
  return absl::StrFormat("step-%08d", step);
}

std::string pending_folder_name(int64_t step, uint64_t epoch) {
  return absl::StrFormat(".step-%08d.epoch-%d", step, epoch);
}

std::string shard_name(int rank, int64_t ranks) {
  return absl::StrFormat("optimizer/shard-%05d-of-%05d.safetensors", rank, ranks);
}

std::vector<int64_t> list_checkpoints(const std::string& folder) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    int64_t step = 0;
    if (!absl::StartsWith(name, "step-") || !absl::SimpleAtoi(name.substr(5), &step)) continue;
    if (read_manifest(entry.path().string()).ok()) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

absl::StatusOr<CheckpointHeader> read_checkpoint_header(const std::string& step_folder) {
  ASSIGN_OR_RETURN(Json json, read_manifest(step_folder));
  return header_from_json(json, step_folder);
}

absl::StatusOr<std::vector<CheckpointFile>> checkpoint_files(const std::string& step_folder) {
  ASSIGN_OR_RETURN(const Json json, read_manifest(step_folder));
  const std::string manifest = absl::StrCat(step_folder, "/", kManifest);
  std::vector<CheckpointFile> files;
  for (const auto& [name, expected] : json.at("files").items()) {
    const fs::path path(name);
    // What a damaged or foreign manifest names is not opened.
    const bool below = path.is_relative() && std::find(path.begin(), path.end(), "..") == path.end() && !name.empty() &&
                       name.find('\0') == std::string::npos;
    if (!below) return absl::DataLossError(absl::StrCat(manifest, " names a file outside of its folder: ", name));
    JsonFields fields(expected, absl::StrCat(manifest, ": files: ", name));
    const int64_t bytes = fields.integer("bytes", 0, std::numeric_limits<int64_t>::max());
    const int64_t crc = fields.integer("crc32", 0, std::numeric_limits<uint32_t>::max());
    RETURN_IF_ERROR(fields.status());
    files.push_back({name, bytes, static_cast<uint32_t>(crc)});
  }
  return files;
}

absl::Status verify_checkpoint(const std::string& step_folder, bool deep) {
  ASSIGN_OR_RETURN(const std::vector<CheckpointFile> files, checkpoint_files(step_folder));
  for (const CheckpointFile& expected : files) {
    const std::string path = absl::StrCat(step_folder, "/", expected.name);
    std::error_code error;
    const auto size = static_cast<int64_t>(fs::file_size(path, error));
    if (error) return absl::DataLossError(absl::StrCat("checkpoint file ", path, " is missing"));
    if (size != expected.bytes) {
      return absl::DataLossError(
          absl::StrCat("checkpoint file ", path, " has ", size, " bytes instead of ", expected.bytes));
    }
    if (!deep) continue;
    ASSIGN_OR_RETURN(WrittenFile found, checksum_file(path));
    if (found.crc32 != expected.crc32)
      return absl::DataLossError(absl::StrCat("checkpoint file ", path, " is damaged: its checksum differs"));
  }
  return absl::OkStatus();
}

absl::Status write_manifest(const std::string& step_folder, const CheckpointHeader& header, const Json& files) {
  Json manifest = to_json(header);
  manifest["files"] = files;
  return write_file_durably(absl::StrCat(step_folder, "/", kManifest), manifest.dump(1));
}

void prune_checkpoints(const std::string& folder, int64_t keep, uint64_t epoch, int64_t spared) {
  std::error_code error;
  std::vector<int64_t> steps = list_checkpoints(folder);
  steps.resize(steps.size() - std::min<size_t>(steps.size(), static_cast<size_t>(std::max<int64_t>(keep, 1))));
  for (const int64_t step : steps) {
    if (step == spared) continue;
    const std::string path = absl::StrCat(folder, "/", step_folder_name(step));
    // Without its manifest it does not exist, whatever happens during the rest.
    fs::remove(absl::StrCat(path, "/", kManifest), error);
    fs::remove_all(path, error);
  }
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const size_t mark = name.find(".epoch-");
    uint64_t of_epoch = 0;
    if (absl::StartsWith(name, ".step-") && mark != std::string::npos &&
        absl::SimpleAtoi(name.substr(mark + 7), &of_epoch) && of_epoch < epoch) {
      leftovers.push_back(entry.path());
    }
  }
  for (const fs::path& path : leftovers) fs::remove_all(path, error);
}

}  // namespace galleon
