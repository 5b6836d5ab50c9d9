#include "worker/engine/checkpoint/checkpoint.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "worker/engine/checkpoint/adapters.h"
#include "worker/engine/checkpoint/safetensors.h"
#include "worker/engine/model/lora.h"

namespace galleon {

namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr int kFormatVersion = 1;
constexpr const char* kManifest = "manifest.json";

std::string shard_name(int rank, int64_t ranks) {
  return absl::StrFormat("optimizer/shard-%05d-of-%05d.safetensors", rank, ranks);
}

std::vector<int64_t> shape_of(const Parameter& p) {
  return p.vector ? std::vector<int64_t>{p.out} : std::vector<int64_t>{p.out, p.in};
}

// The name that a safetensors file has for a type.
std::string stored_type(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return "F32";
    case DataType::kBFloat16:
      return "BF16";
    case DataType::kInt32:
      return "I32";
    case DataType::kUint8:
      return "U8";
  }
  return "";
}

// [interval, not before, streak] by parameter.
Json paces_to_json(const std::vector<RefreshPace>& paces) {
  Json json = Json::array();
  for (const RefreshPace& pace : paces) json.push_back({pace.interval, pace.not_before, pace.streak});
  return json;
}

std::vector<RefreshPace> paces_from_json(const Json& json) {
  std::vector<RefreshPace> paces;
  for (const Json& pace : json) {
    paces.push_back({pace.at(0).get<int64_t>(), pace.at(1).get<int64_t>(), pace.at(2).get<int64_t>()});
  }
  return paces;
}

Json to_json(const CheckpointHeader& h) {
  return {{"format_version", kFormatVersion},
          {"job", h.job},
          {"mathematics", h.mathematics},
          {"step", h.step},
          {"schedule_steps", h.schedule_steps},
          {"warmup_steps", h.warmup_steps},
          {"tokens", h.tokens},
          {"seconds", h.seconds},
          {"ranks", h.ranks},
          {"epoch", h.epoch},
          {"weights_hash", h.weights_hash},
          {"counts", h.counts},
          {"refresh_paces", paces_to_json(h.paces)}};
}

absl::StatusOr<Json> read_manifest(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", kManifest);
  absl::StatusOr<std::string> text = read_file(path);
  if (!text.ok()) return text.status();
  Json json = Json::parse(*text, nullptr, false);
  if (json.is_discarded() || !json.is_object() || !json.contains("files") || !json.contains("step")) {
    return absl::DataLossError(absl::StrCat(path, " is damaged"));
  }
  const int version = json.value("format_version", 0);
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " has format version ", version, "; this program reads version ", kFormatVersion));
  }
  return json;
}

absl::StatusOr<CheckpointHeader> header_from_json(const Json& json, const std::string& folder) {
  CheckpointHeader h;
  try {
    h.job = json.at("job").get<std::string>();
    h.mathematics = json.at("mathematics").get<std::string>();
    h.step = json.at("step").get<int64_t>();
    h.schedule_steps = json.at("schedule_steps").get<int64_t>();
    h.warmup_steps = json.at("warmup_steps").get<int64_t>();
    h.tokens = json.at("tokens").get<int64_t>();
    h.seconds = json.at("seconds").get<double>();
    h.ranks = json.at("ranks").get<int64_t>();
    h.epoch = json.at("epoch").get<uint64_t>();
    h.weights_hash = json.at("weights_hash").get<uint64_t>();
    h.counts = json.at("counts").get<std::vector<int64_t>>();
    // Checkpoints from before lazy refresh have none.
    h.paces = json.contains("refresh_paces") ? paces_from_json(json.at("refresh_paces"))
                                             : std::vector<RefreshPace>(h.counts.size());
  } catch (const Json::exception&) {
    return absl::DataLossError(absl::StrCat(folder, "/", kManifest, " is damaged"));
  }
  return h;
}

// What one rank wrote, as it tells the others.
struct Part {
  Json files = Json::object();
  absl::Status status;
  uint64_t weights_hash = 0;
};

std::string part_to_text(const Part& part) {
  return Json{{"files", part.files},
              {"code", static_cast<int>(part.status.code())},
              {"message", std::string(part.status.message())},
              {"weights_hash", part.weights_hash}}
      .dump();
}

void add_file(Part& part, const std::string& name, const absl::StatusOr<WrittenFile>& written) {
  if (!written.ok()) {
    part.status.Update(written.status());
    return;
  }
  part.files[name] = {{"bytes", written->bytes}, {"crc32", written->crc32}};
}

void add_text_file(Part& part, const std::string& folder, const std::string& name, const std::string& text) {
  const std::string path = absl::StrCat(folder, "/", name);
  if (absl::Status s = write_file_durably(path, text); !s.ok()) {
    part.status.Update(s);
    return;
  }
  add_file(part, name, checksum_file(path));
}

// A weight in the type that it is trained in, from its values in Hugging Face layout.
TensorToWrite weight_to_write(const Parameter& p, std::function<std::vector<float>()> values) {
  if (p.shard.type == DataType::kFloat32) return {p.name, shape_of(p), std::move(values), "F32", {}};
  return {p.name, shape_of(p), {}, stored_type(p.shard.type), [values = std::move(values)] {
            const std::vector<float> numbers = values();
            std::string bytes(numbers.size() * sizeof(BFloat16), '\0');
            for (size_t i = 0; i < numbers.size(); ++i) {
              const BFloat16 number = math::to_bfloat16(numbers[i]);
              std::memcpy(bytes.data() + i * sizeof(number), &number, sizeof(number));
            }
            return bytes;
          }};
}

// The weights of a checkpoint in the order in which they are written. Sharded ones are gathered for it by all ranks
// together, also after the first has failed to write.
class WeightsInTurn {
 public:
  WeightsInTurn(const CheckpointContent& content, std::vector<int> order)
      : order_(std::move(order)), cursor_(content.weights) {}
  void take(int parameter) {
    GALLEON_CHECK(next_ < order_.size() && order_[next_] == parameter) << parameter;
    ++next_;
    cursor_.visit(parameter);
  }
  void take_rest() {
    while (next_ < order_.size()) take(order_[next_]);
  }

 private:
  std::vector<int> order_;
  size_t next_ = 0;
  WeightCursor cursor_;
};

Part write_part(const std::string& folder, const CheckpointContent& content, Communicator& communicator) {
  Part part;
  part.weights_hash = hash_weights(content.parameters, content.device, content.weights);
  std::vector<TensorToWrite> state;
  for (const StatePiece& piece : content.optimizer.state()) {
    if ((piece.replicated && communicator.rank() != 0) || piece.tensor.rows == 0) continue;
    state.push_back({absl::StrCat(piece.name, "@", piece.first_row),
                     {piece.tensor.rows, piece.tensor.columns},
                     {},
                     stored_type(piece.tensor.type),
                     [&content, piece] {
                       std::string bytes(piece.tensor.bytes(), '\0');
                       content.device.download(bytes.data(), piece.tensor);
                       return bytes;
                     }});
  }
  const std::string shard = shard_name(communicator.rank(), communicator.ranks());
  add_file(part, shard, write_safetensors(absl::StrCat(folder, "/", shard), state, {}));

  std::vector<int> order = content.lora.has_value() ? adapter_parameters(content.parameters) : std::vector<int>{};
  const size_t of_adapters = order.size();
  for (const Parameter& p : content.parameters) {
    if (!p.of_adapter) order.push_back(p.index);
  }
  WeightsInTurn turn(content, order);
  if (communicator.rank() != 0 || !part.status.ok()) {
    turn.take_rest();
    return part;
  }

  const bool in_bfloat16 = content.parameters.front().shard.type == DataType::kBFloat16;
  std::vector<TensorToWrite> weights;
  for (const Parameter& p : content.parameters) {
    if (p.of_adapter) continue;
    weights.push_back(weight_to_write(p, [&content, &turn, &p] {
      turn.take(p.index);
      return p.adapter < 0 ? get_weight(p, content.device)
                           : merged_weight(p, content.parameters, *content.lora, content.device);
    }));
  }
  if (content.lora.has_value()) {
    std::vector<TensorToWrite> tensors;
    for (size_t i = 0; i < of_adapters; ++i) {
      const Parameter& p = content.parameters[order[i]];
      tensors.push_back({p.name, {p.out, p.in}, [&content, &turn, &p] {
                           turn.take(p.index);
                           return get_weight(p, content.device);
                         }});
    }
    add_file(part, kAdaptersFile, write_safetensors(absl::StrCat(folder, "/", kAdaptersFile), tensors, {}));
  }
  if (part.status.ok())
    add_file(part, "model.safetensors", write_safetensors(folder + "/model.safetensors", weights, {{"format", "pt"}}));
  turn.take_rest();
  add_text_file(part, folder, "config.json",
                model_config_to_json(content.config, in_bfloat16 ? "bfloat16" : "float32"));
  for (const std::string& path : content.tokenizer_files) {
    absl::StatusOr<std::string> text = read_file(path);
    if (!text.ok()) {
      part.status.Update(text.status());
      continue;
    }
    // transformers look for a SentencePiece model under this name, whatever the job calls it.
    add_text_file(part, folder, absl::EndsWith(path, ".model") ? "tokenizer.model" : fs::path(path).filename().string(),
                  *text);
  }
  return part;
}

// All parts together: the files of the checkpoint, or why there is none.
absl::StatusOr<Json> merge_parts(const std::vector<std::string>& texts, uint64_t own_hash) {
  Json files = Json::object();
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    const Json part = Json::parse(texts[rank], nullptr, false);
    if (part.is_discarded()) return absl::UnavailableError(absl::StrCat("rank ", rank, " did not say what it wrote"));
    const int code = part["code"].get<int>();
    if (code != 0) return absl::Status(static_cast<absl::StatusCode>(code), part["message"].get<std::string>());
    if (part["weights_hash"].get<uint64_t>() != own_hash) {
      return absl::InternalError(
          absl::StrCat("the weights of rank ", rank, " differ from another rank's; the replicas have come apart"));
    }
    files.update(part["files"]);
  }
  return files;
}

}  // namespace

std::string step_folder_name(int64_t step) {
  return absl::StrFormat("step-%08d", step);
}

std::string pending_folder_name(int64_t step, uint64_t epoch) {
  return absl::StrFormat(".step-%08d.epoch-%d", step, epoch);
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
  absl::StatusOr<Json> json = read_manifest(step_folder);
  if (!json.ok()) return json.status();
  return header_from_json(*json, step_folder);
}

absl::Status verify_checkpoint(const std::string& step_folder, bool deep) {
  absl::StatusOr<Json> json = read_manifest(step_folder);
  if (!json.ok()) return json.status();
  for (const auto& [name, expected] : (*json)["files"].items()) {
    const std::string path = absl::StrCat(step_folder, "/", name);
    std::error_code error;
    const auto size = static_cast<int64_t>(fs::file_size(path, error));
    if (error) return absl::DataLossError(absl::StrCat("checkpoint file ", path, " is missing"));
    if (size != expected.value("bytes", int64_t{-1})) {
      return absl::DataLossError(absl::StrCat("checkpoint file ", path, " has ", size, " bytes instead of ",
                                              expected.value("bytes", int64_t{-1})));
    }
    if (!deep) continue;
    absl::StatusOr<WrittenFile> found = checksum_file(path);
    if (!found.ok()) return found.status();
    if (found->crc32 != expected.value("crc32", uint32_t{0}))
      return absl::DataLossError(absl::StrCat("checkpoint file ", path, " is damaged: its checksum differs"));
  }
  return absl::OkStatus();
}

absl::Status publish_checkpoint(const std::string& folder, int64_t step, uint64_t epoch) {
  const std::string from = absl::StrCat(folder, "/", pending_folder_name(step, epoch));
  const std::string to = absl::StrCat(folder, "/", step_folder_name(step));
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0)
    return errno_status("cannot publish", to, errno);
  return sync_folder(folder);
}

absl::Status save_checkpoint(const std::string& folder, const CheckpointHeader& header,
                             const CheckpointContent& content, Communicator& communicator,
                             const PublicationGate& gate) {
  // Rank 0 names the folder: in a local run each rank has an epoch of its own.
  const std::string pending =
      communicator.all_gather_text(absl::StrCat(folder, "/", pending_folder_name(header.step, header.epoch)))[0];
  const std::string final_folder = absl::StrCat(folder, "/", step_folder_name(header.step));
  std::error_code error;
  absl::Status prepared;
  if (communicator.rank() == 0) {
    fs::remove_all(pending, error);
    prepared = make_folders(pending + "/optimizer");
  }
  // Nobody writes before the folder exists.
  const bool exists = communicator.all_gather_text(prepared.ok() ? "" : "failed")[0].empty();

  Part part;
  part.status = prepared;
  if (exists && communicator.status().ok()) part = write_part(pending, content, communicator);
  const std::vector<std::string> texts = communicator.all_gather_text(part_to_text(part));
  absl::StatusOr<Json> files = merge_parts(texts, part.weights_hash);

  absl::Status verdict = files.status();
  if (communicator.rank() == 0) {
    if (verdict.ok()) {
      CheckpointHeader complete = header;
      complete.weights_hash = part.weights_hash;
      complete.ranks = communicator.ranks();
      complete.counts = content.optimizer.counts();
      complete.paces = content.optimizer.paces();
      Json manifest = to_json(complete);
      manifest["files"] = *files;
      verdict.Update(sync_folder(pending + "/optimizer"));
      verdict.Update(write_file_durably(absl::StrCat(pending, "/", kManifest), manifest.dump(1)));
    }
    if (verdict.ok()) verdict = gate(header.step, final_folder);
    if (verdict.ok()) verdict = publish_checkpoint(folder, header.step, header.epoch);
    if (!verdict.ok()) fs::remove_all(pending, error);
  }
  const std::vector<std::string> verdicts =
      communicator.all_gather_text(absl::StrCat(static_cast<int>(verdict.code()), " ", verdict.message()));
  if (!communicator.status().ok()) return communicator.status();
  int code = 0;
  const std::string& first = verdicts[0];
  const size_t space = first.find(' ');
  if (space == std::string::npos || !absl::SimpleAtoi(first.substr(0, space), &code))
    return absl::UnavailableError("rank 0 did not tell whether the checkpoint was published");
  return code == 0 ? absl::OkStatus() : absl::Status(static_cast<absl::StatusCode>(code), first.substr(space + 1));
}

absl::Status load_checkpoint(const std::string& step_folder, const CheckpointHeader& header,
                             const CheckpointContent& content) {
  if (absl::Status s = load_weights(step_folder, content.parameters, content.device); !s.ok()) return s;
  if (content.lora.has_value()) {
    if (absl::Status s = load_adapters(step_folder, content.parameters, content.device); !s.ok()) return s;
  }
  std::vector<SafetensorsReader> shards;
  for (int64_t rank = 0; rank < header.ranks; ++rank) {
    absl::StatusOr<SafetensorsReader> shard =
        SafetensorsReader::open(absl::StrCat(step_folder, "/", shard_name(static_cast<int>(rank), header.ranks)));
    if (!shard.ok()) return shard.status();
    shards.push_back(*std::move(shard));
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
      const std::string type = stored_type(wanted.tensor.type);
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

namespace {

// The files that hold a folder's weights.
absl::StatusOr<std::vector<SafetensorsReader>> open_weights(const std::string& folder) {
  std::vector<std::string> names{"model.safetensors"};
  const std::string index_path = folder + "/model.safetensors.index.json";
  std::error_code error;
  if (fs::exists(index_path, error)) {
    absl::StatusOr<std::string> text = read_file(index_path);
    if (!text.ok()) return text.status();
    const Json index = Json::parse(*text, nullptr, false);
    if (nested_too_deeply(*text) || index.is_discarded() || !index.contains("weight_map") || !index["weight_map"].is_object())
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
    absl::StatusOr<SafetensorsReader> file = SafetensorsReader::open(absl::StrCat(folder, "/", name));
    if (!file.ok()) return file.status();
    files.push_back(*std::move(file));
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
          absl::StrCat(folder, " has no tensor ", p.name, " (", absl::StrJoin(shape_of(p), "x"), ")"));
    }
    const TensorEntry& entry = it->second->entries().at(it->first);
    if (entry.shape != shape_of(p)) {
      return absl::InvalidArgumentError(absl::StrCat(folder, ": ", it->first, " has shape ",
                                                     absl::StrJoin(entry.shape, "x"), "; the model needs ",
                                                     absl::StrJoin(shape_of(p), "x")));
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
  absl::StatusOr<std::vector<SafetensorsReader>> files = open_weights(folder);
  if (!files.ok()) return files.status();
  return find_tensors(folder, *files, parameters, fresh).status();
}

absl::Status load_weights(const std::string& folder, const std::vector<Parameter>& parameters, Device& device,
                          std::vector<std::string>* fresh) {
  absl::StatusOr<std::vector<SafetensorsReader>> files = open_weights(folder);
  if (!files.ok()) return files.status();
  absl::StatusOr<std::vector<FoundTensor>> tensors = find_tensors(folder, *files, parameters, fresh);
  if (!tensors.ok()) return tensors.status();
  for (const auto& [parameter, file, name] : *tensors) {
    std::vector<float> values(file->entries().at(name).count());
    if (absl::Status s = file->read(name, 0, static_cast<int64_t>(values.size()), values.data()); !s.ok()) return s;
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
  absl::StatusOr<std::vector<SafetensorsReader>> files = open_weights(folder);
  if (!files.ok()) return files.status();
  for (const SafetensorsReader& file : *files) {
    for (const auto& [name, entry] : file.entries()) {
      if (entry.type == "F32" || entry.type == "F16") return DataType::kFloat32;
    }
  }
  return DataType::kBFloat16;
}

void prune_checkpoints(const std::string& folder, int64_t keep, uint64_t epoch) {
  std::error_code error;
  std::vector<int64_t> steps = list_checkpoints(folder);
  while (static_cast<int64_t>(steps.size()) > std::max<int64_t>(keep, 1)) {
    const std::string path = absl::StrCat(folder, "/", step_folder_name(steps.front()));
    // Without its manifest it does not exist, whatever happens during the rest.
    fs::remove(absl::StrCat(path, "/", kManifest), error);
    fs::remove_all(path, error);
    steps.erase(steps.begin());
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
