#include "worker/engine/checkpoint/checkpoint.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/adapters.h"
#include "worker/engine/checkpoint/safetensors.h"

namespace galleon {

absl::Status load_checkpoint(const std::string& step_folder, const CheckpointHeader& header,
                             const CheckpointContent& content) {
  RETURN_IF_ERROR(load_weights(step_folder, content.parameters, content.device));
  if (content.lora.has_value()) {
    RETURN_IF_ERROR(load_adapters(step_folder, content.parameters, content.device));
  }
  std::vector<SafetensorsReader> shards;
  for (int64_t rank = 0; rank < header.ranks; ++rank) {
    ASSIGN_OR_RETURN(SafetensorsReader shard, SafetensorsReader::open(absl::StrCat(
                                                  step_folder, "/", shard_name(static_cast<int>(rank), header.ranks))));
    shards.push_back(std::move(shard));
  }
  // Pieces by name: (shard, entry's name, first row).
  std::map<std::string, std::vector<std::pair<size_t, int64_t>>> pieces;
  for (size_t s = 0; s < shards.size(); ++s) {
    for (const auto& [name, entry] : shards[s].entries()) {
      const size_t at = name.rfind('@');
      int64_t first_row = 0;
      if (at != std::string::npos && absl::SimpleAtoi(name.substr(at + 1), &first_row))
        pieces[name.substr(0, at)].emplace_back(s, first_row);
    }
  }
  for (const StatePiece& wanted : content.optimizer.state()) {
    const int64_t columns = wanted.tensor.columns;
    const int64_t row_bytes = columns * bytes_of(wanted.tensor.type);
    std::string bytes(wanted.tensor.bytes(), '\0');
    int64_t found_rows = 0;
    for (const auto& [shard, first_row] : pieces[wanted.name]) {
      const std::string name = absl::StrCat(wanted.name, "@", first_row);
      const TensorEntry& entry = shards[shard].entries().at(name);
      const std::string type = safetensors_type(wanted.tensor.type);
      if (entry.shape.size() != 2 || entry.shape[1] != columns || entry.type != type) {
        return absl::DataLossError(absl::StrCat(shards[shard].path(), ": ", wanted.name, " has shape ",
                                                absl::StrJoin(entry.shape, "x"), " in ", entry.type,
                                                ", needed are rows of ", columns, " in ", type));
      }
      const int64_t begin = std::max(first_row, wanted.first_row);
      const int64_t end = std::min(first_row + entry.shape[0], wanted.first_row + wanted.tensor.rows);
      if (begin >= end) continue;
      if (absl::Status s = shards[shard].read_bytes(name, (begin - first_row) * columns, (end - begin) * columns,
                                                    bytes.data() + (begin - wanted.first_row) * row_bytes);
          !s.ok()) {
        return s;
      }
      found_rows += end - begin;
    }
    if (found_rows != wanted.tensor.rows) {
      return absl::DataLossError(
          absl::StrCat(step_folder, " holds ", found_rows, " of ", wanted.tensor.rows, " rows of ", wanted.name));
    }
    if (wanted.tensor.rows > 0) content.device.upload(wanted.tensor, bytes.data());
  }
  const size_t trained = content.optimizer.counts().size();
  if (header.counts.size() != trained || header.paces.size() != trained)
    return absl::DataLossError(absl::StrCat(step_folder, " counts other parameters than this model has"));
  content.optimizer.resume(header.counts, header.paces);
  return absl::OkStatus();
}

absl::Status check_loaded_weights(const std::string& step_folder, const CheckpointHeader& header,
                                  const CheckpointContent& content) {
  if (hash_weights(content.parameters, content.device, content.weights) != header.weights_hash) {
    return absl::DataLossError(absl::StrCat(step_folder, ": the weights are not those that were saved"));
  }
  return absl::OkStatus();
}

}  // namespace galleon
