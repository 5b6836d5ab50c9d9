#include "worker/engine/checkpoint/model_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/safetensors.h"

namespace galleon {

namespace {
using Json = nlohmann::json;
namespace fs = std::filesystem;
}  // namespace

std::vector<int64_t> stored_shape(const Parameter& p) {
  return p.vector ? std::vector<int64_t>{p.out} : std::vector<int64_t>{p.out, p.in};
}

namespace {

// The files that hold a folder's weights.
absl::StatusOr<std::vector<SafetensorsReader>> open_weights(const std::string& folder) {
  std::vector<std::string> names{"model.safetensors"};
  const std::string index_path = folder + "/model.safetensors.index.json";
  std::error_code error;
  if (fs::exists(index_path, error)) {
    ASSIGN_OR_RETURN(std::string text, read_file(index_path));
    const Json index = Json::parse(text, nullptr, false);
    if (nested_too_deeply(text) || index.is_discarded() || !index.contains("weight_map") ||
        !index["weight_map"].is_object())
      return absl::DataLossError(absl::StrCat(index_path, " is damaged"));
    names.clear();
    for (const auto& [tensor, file] : index["weight_map"].items()) {
      if (!file.is_string() || absl::StrContains(file.get<std::string>(), "/"))
        return absl::DataLossError(absl::StrCat(index_path, ": ", tensor, " names no file"));
      names.push_back(file.get<std::string>());
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
  }
  if (names.size() == 1 && !fs::exists(absl::StrCat(folder, "/", names[0]), error)) {
    for (const char* other : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
      if (fs::exists(absl::StrCat(folder, "/", other), error)) {
        return absl::InvalidArgumentError(
            absl::StrCat(folder, " has its weights in ", other, "; model.safetensors can be read"));
      }
    }
  }
  std::vector<SafetensorsReader> files;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(SafetensorsReader file, SafetensorsReader::open(absl::StrCat(folder, "/", name)));
    files.push_back(std::move(file));
  }
  return files;
}

// The names under which a tensor may lie in a folder: its own, that of an export of the body alone, and those of BERT's
// first exports, whose layer norms have a gamma and a beta.
std::vector<std::string> names_of(const std::string& name) {
  std::vector<std::string> names{name};
  for (const char* body : {"bert.", "roberta.", "model."}) {
    if (absl::StartsWith(name, body)) names.push_back(name.substr(std::strlen(body)));
  }
  for (const auto& [now, then] : {std::pair("LayerNorm.weight", "gamma"), std::pair("LayerNorm.bias", "beta")}) {
    if (!absl::EndsWith(name, now)) continue;
    for (size_t i = 0, own = names.size(); i < own; ++i)
      names.push_back(names[i].substr(0, names[i].rfind('.') + 1) + then);
  }
  return names;
}

// Whether a tensor that the model does not have may lie beside those that it has: buffers and a copy of a tied head in
// older exports, and the heads of an encoder for other tasks.
bool may_be_left(absl::string_view name, bool has_head, bool encoder) {
  if (absl::EndsWith(name, "rotary_emb.inv_freq")) return true;
  if (!encoder) return !has_head && name == "lm_head.weight";
  if (absl::EndsWith(name, "embeddings.position_ids")) return true;
  for (const char* body : {"bert.", "roberta."}) {
    if (absl::StartsWith(name, body)) name.remove_prefix(std::strlen(body));
  }
  return !absl::StartsWith(name, "embeddings.") && !absl::StartsWith(name, "encoder.") &&
         !absl::StartsWith(name, "classifier");
}

// Where each parameter's tensor lies.
struct FoundTensor {
  const Parameter* parameter;
  const SafetensorsReader* file;
  std::string name;
};

absl::StatusOr<std::vector<FoundTensor>> find_tensors(const std::string& folder,
                                                      const std::vector<SafetensorsReader>& files,
                                                      const std::vector<Parameter>& parameters,
                                                      std::vector<std::string>* fresh) {
  std::map<std::string, const SafetensorsReader*> file_of;
  for (const SafetensorsReader& file : files) {
    for (const auto& [tensor, entry] : file.entries()) file_of[tensor] = &file;
  }
  const auto find = [&](const std::string& name) {
    for (const std::string& candidate : names_of(name)) {
      const auto it = file_of.find(candidate);
      if (it != file_of.end()) return it;
    }
    return file_of.end();
  };
  std::vector<FoundTensor> found;
  bool has_head = false;
  bool encoder = false;
  for (const Parameter& p : parameters) {
    if (p.of_adapter) continue;
    has_head |= p.group == ParameterGroup::kHead;
    encoder |= p.group == ParameterGroup::kClassifier;
    const auto it = find(p.name);
    if (it == file_of.end()) {
      // A layer is new as a whole: its weight comes before its bias.
      const std::string layer = p.name.substr(0, p.name.rfind('.'));
      const bool weight_is_new = fresh != nullptr && !fresh->empty() && fresh->back() == absl::StrCat(layer, ".weight");
      const bool whole = p.vector ? weight_is_new : find(absl::StrCat(layer, ".bias")) == file_of.end();
      if (fresh != nullptr && p.group == ParameterGroup::kClassifier && whole) {
        fresh->push_back(p.name);
        continue;
      }
      return absl::InvalidArgumentError(
          absl::StrCat(folder, " has no tensor ", p.name, " (", absl::StrJoin(stored_shape(p), "x"), ")"));
    }
    const TensorEntry& entry = it->second->entries().at(it->first);
    if (entry.shape != stored_shape(p)) {
      return absl::InvalidArgumentError(absl::StrCat(folder, ": ", it->first, " has shape ",
                                                     absl::StrJoin(entry.shape, "x"), "; the model needs ",
                                                     absl::StrJoin(stored_shape(p), "x")));
    }
    if (entry.type != "F32" && entry.type != "F16" && entry.type != "BF16") {
      return absl::InvalidArgumentError(absl::StrCat(it->second->path(), ": ", it->first, " has type ", entry.type,
                                                     "; F32, F16 or BF16 can be read"));
    }
    found.push_back({&p, it->second, it->first});
    file_of.erase(it);
  }
  for (const auto& [name, file] : file_of) {
    if (!may_be_left(name, has_head, encoder)) {
      return absl::InvalidArgumentError(absl::StrCat(file->path(),
                                                     " holds a tensor that this model does not have: ", name, " (",
                                                     absl::StrJoin(file->entries().at(name).shape, "x"), ")"));
    }
  }
  return found;
}

}  // namespace

absl::Status check_weights(const std::string& folder, const std::vector<Parameter>& parameters,
                           std::vector<std::string>* fresh) {
  ASSIGN_OR_RETURN(std::vector<SafetensorsReader> files, open_weights(folder));
  return find_tensors(folder, files, parameters, fresh).status();
}

absl::Status load_weights(const std::string& folder, const std::vector<Parameter>& parameters, Device& device,
                          std::vector<std::string>* fresh) {
  ASSIGN_OR_RETURN(std::vector<SafetensorsReader> files, open_weights(folder));
  ASSIGN_OR_RETURN(std::vector<FoundTensor> tensors, find_tensors(folder, files, parameters, fresh));
  for (const auto& [parameter, file, name] : tensors) {
    std::vector<float> values(file->entries().at(name).count());
    RETURN_IF_ERROR(file->read(name, 0, static_cast<int64_t>(values.size()), values.data()));
    const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad != values.end()) {
      return absl::InvalidArgumentError(absl::StrCat(file->path(), ": ", name, " holds a number that is not finite (",
                                                     *bad, " at element ", bad - values.begin(), ")"));
    }
    set_weight(*parameter, device, values.data());
  }
  return absl::OkStatus();
}

absl::StatusOr<DataType> stored_weight_type(const std::string& folder) {
  ASSIGN_OR_RETURN(std::vector<SafetensorsReader> files, open_weights(folder));
  for (const SafetensorsReader& file : files) {
    for (const auto& [name, entry] : file.entries()) {
      if (entry.type == "F32" || entry.type == "F16") return DataType::kFloat32;
    }
  }
  return DataType::kBFloat16;
}

}  // namespace galleon
