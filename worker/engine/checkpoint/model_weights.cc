#include "worker/engine/checkpoint/model_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/files.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/safetensors.h"
#include "worker/engine/checkpoint/weight_index.h"
#include "worker/engine/model/adapter_folder.h"

namespace galleon {

namespace {
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
  RETURN_IF_ERROR(refuse_adapter_folder(folder));
  // A file of all weights comes first, as in transformers: an index beside it is of an older export.
  if (!fs::exists(absl::StrCat(folder, "/", names[0]), error) && fs::exists(index_path, error)) {
    ASSIGN_OR_RETURN(std::string text, read_to_parse(index_path));
    ASSIGN_OR_RETURN(names, names_of_index(text, index_path));
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

// Whether a matrix of the vocabulary has more rows than its file, which had `grown_from`; 0: none may.
bool grows(const Parameter& p, const std::vector<int64_t>& shape, int64_t grown_from) {
  const bool of_vocabulary = p.group == ParameterGroup::kHead || absl::EndsWith(p.name, "embed_tokens.weight") ||
                             absl::EndsWith(p.name, "word_embeddings.weight");
  return grown_from > 0 && of_vocabulary && shape == std::vector<int64_t>{grown_from, p.in} && p.out >= grown_from;
}

// Rows that a file does not have: the mean of those that it has, so that a new token is as likely as the others are on
// average and lies among them.
void add_mean_rows(const Parameter& p, std::vector<float>& values) {
  const auto known = static_cast<int64_t>(values.size()) / p.in;
  if (known == p.out) return;
  std::vector<double> mean(p.in, 0.0);
  for (size_t i = 0; i < values.size(); ++i) mean[i % p.in] += values[i];
  values.reserve(p.out * p.in);
  for (int64_t row = known; row < p.out; ++row) {
    for (const double sum : mean) values.push_back(static_cast<float>(sum / static_cast<double>(known)));
  }
}

// A head beside an embedding that is said to be the head as well has to be the same; transformers would keep it.
absl::Status check_tied_head(const std::string& folder, const std::vector<FoundTensor>& found,
                             const std::map<std::string, const SafetensorsReader*>& rest) {
  const char* head = "lm_head.weight";
  const auto there = rest.find(head);
  const auto embedding = std::find_if(found.begin(), found.end(), [](const FoundTensor& tensor) {
    return absl::EndsWith(tensor.parameter->name, "embed_tokens.weight");
  });
  if (there == rest.end() || embedding == found.end()) return absl::OkStatus();
  const TensorEntry& own = there->second->entries().at(head);
  const TensorEntry& other = embedding->file->entries().at(embedding->name);
  bool same = own.shape == other.shape;
  constexpr int64_t kAtOnce = 1 << 20;
  std::vector<float> a(kAtOnce);
  std::vector<float> b(kAtOnce);
  for (int64_t first = 0; same && first < own.count(); first += kAtOnce) {
    const int64_t count = std::min(kAtOnce, own.count() - first);
    RETURN_IF_ERROR(there->second->read(head, first, count, a.data()));
    RETURN_IF_ERROR(embedding->file->read(embedding->name, first, count, b.data()));
    same = std::memcmp(a.data(), b.data(), count * sizeof(float)) == 0;
  }
  if (same) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(folder, ": tie_word_embeddings is true, and ", head, " differs from ", embedding->name,
                   "; model.overrides: {tie_word_embeddings: false} keeps both, as transformers do"));
}

absl::StatusOr<std::vector<FoundTensor>> find_tensors(const std::string& folder,
                                                      const std::vector<SafetensorsReader>& files,
                                                      const std::vector<Parameter>& parameters,
                                                      std::vector<std::string>* fresh, int64_t grown_from) {
  std::map<std::string, const SafetensorsReader*> file_of;
  for (const SafetensorsReader& file : files) {
    for (const auto& [tensor, entry] : file.entries()) {
      const auto [there, first] = file_of.emplace(tensor, &file);
      if (!first)
        return absl::InvalidArgumentError(
            absl::StrCat(tensor, " lies in both ", there->second->path(), " and ", file.path()));
    }
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
    if (entry.shape != stored_shape(p) && !grows(p, entry.shape, grown_from)) {
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
  if (!has_head && !encoder) RETURN_IF_ERROR(check_tied_head(folder, found, file_of));
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
                           std::vector<std::string>* fresh, int64_t grown_from) {
  ASSIGN_OR_RETURN(std::vector<SafetensorsReader> files, open_weights(folder));
  return find_tensors(folder, files, parameters, fresh, grown_from).status();
}

absl::Status visit_weights(const std::string& folder, const std::vector<Parameter>& parameters, const TakeWeight& take,
                           std::vector<std::string>* fresh, int64_t grown_from) {
  ASSIGN_OR_RETURN(std::vector<SafetensorsReader> files, open_weights(folder));
  ASSIGN_OR_RETURN(std::vector<FoundTensor> tensors, find_tensors(folder, files, parameters, fresh, grown_from));
  for (const auto& [parameter, file, name] : tensors) {
    std::vector<float> values(file->entries().at(name).count());
    RETURN_IF_ERROR(file->read(name, 0, static_cast<int64_t>(values.size()), values.data()));
    const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad != values.end()) {
      return absl::InvalidArgumentError(absl::StrCat(file->path(), ": ", name, " holds a number that is not finite (",
                                                     *bad, " at element ", bad - values.begin(), ")"));
    }
    if (grown_from > 0 && grows(*parameter, file->entries().at(name).shape, grown_from))
      add_mean_rows(*parameter, values);
    RETURN_IF_ERROR(take(*parameter, std::move(values)));
  }
  return absl::OkStatus();
}

absl::Status load_weights(const std::string& folder, const std::vector<Parameter>& parameters, Device& device,
                          std::vector<std::string>* fresh, int64_t grown_from) {
  const auto set = [&](const Parameter& p, const std::vector<float>& values) {
    set_weight(p, device, values.data());
    return absl::OkStatus();
  };
  return visit_weights(folder, parameters, set, fresh, grown_from);
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
