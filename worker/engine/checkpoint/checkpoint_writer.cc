#include "worker/engine/checkpoint/checkpoint_writer.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/engine/checkpoint/adapters.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/checkpoint/model_weights.h"
#include "worker/engine/checkpoint/peft_adapter.h"
#include "worker/engine/checkpoint/safetensors.h"
#include "worker/engine/model/lora.h"

namespace galleon {

namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kChatTemplateFile = "chat_template.jinja";  // as transformers name it

// What one rank wrote, as it tells the others.
struct Part {
  Json files = Json::object();
  absl::Status status;
  uint64_t weights_hash = 0;
  std::vector<std::pair<std::string, FileDescriptor>> unflushed;  // by path
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

// Large files are flushed later.
void add_tensors(Part& part, const std::string& folder, const std::string& name,
                 const std::vector<TensorToWrite>& tensors, const std::map<std::string, std::string>& metadata = {}) {
  const std::string path = absl::StrCat(folder, "/", name);
  FileDescriptor file;
  add_file(part, name, write_safetensors(path, tensors, metadata, &file));
  if (file.valid()) part.unflushed.emplace_back(path, std::move(file));
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
  if (p.shard.type == DataType::kFloat32) return {p.name, stored_shape(p), std::move(values), "F32", {}};
  return {p.name, stored_shape(p), {}, safetensors_type(p.shard.type), [values = std::move(values)] {
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
                     safetensors_type(piece.tensor.type),
                     [&content, piece] {
                       std::string bytes(piece.tensor.bytes(), '\0');
                       content.device.download(bytes.data(), piece.tensor);
                       return bytes;
                     }});
  }
  add_tensors(part, folder, shard_name(communicator.rank(), communicator.ranks()), state);

  std::vector<int> order = content.lora.has_value() ? adapter_parameters(content.parameters) : std::vector<int>{};
  const size_t of_adapters = order.size();
  PeftAdapter for_peft;
  if (content.lora.has_value() && !content.adapter_base.empty()) {
    for_peft = peft_adapter(content.config, content.parameters, *content.lora, content.adapter_base);
    for (const PeftTensor& tensor : for_peft.tensors) order.push_back(tensor.parameter);
  }
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
    add_tensors(part, folder, kAdaptersFile, tensors);
  }
  if (part.status.ok() && !for_peft.tensors.empty()) {
    std::vector<TensorToWrite> tensors;
    for (const PeftTensor& tensor : for_peft.tensors) {
      const Parameter& p = content.parameters[tensor.parameter];
      tensors.push_back(weight_to_write(p, [&content, &turn, &p] {
        turn.take(p.index);
        return get_weight(p, content.device);
      }));
      tensors.back().name = tensor.name;
    }
    add_tensors(part, folder, kPeftWeights, tensors, {{"format", "pt"}});
    add_text_file(part, folder, kPeftConfig, for_peft.config);
  }
  if (part.status.ok()) add_tensors(part, folder, "model.safetensors", weights, {{"format", "pt"}});
  turn.take_rest();
  add_text_file(part, folder, "config.json",
                model_config_to_json(content.config, in_bfloat16 ? "bfloat16" : "float32"));
  // Where it came from does not matter to who loads the model: this one is what its answers were learnt with.
  if (!content.chat_template.empty()) add_text_file(part, folder, kChatTemplateFile, content.chat_template);
  for (const std::string& path : content.tokenizer_files) {
    if (fs::path(path).filename() == kChatTemplateFile && !content.chat_template.empty()) continue;
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

// A verdict on its way between ranks: "CODE MESSAGE".
std::string status_to_text(const absl::Status& status) {
  return absl::StrCat(static_cast<int>(status.code()), " ", status.message());
}
absl::Status status_from_text(const std::string& text) {
  int code = 0;
  const size_t space = text.find(' ');
  if (space == std::string::npos || !absl::SimpleAtoi(text.substr(0, space), &code))
    return absl::UnavailableError("another rank did not say how its part of the checkpoint went");
  return code == 0 ? absl::OkStatus() : absl::Status(static_cast<absl::StatusCode>(code), text.substr(space + 1));
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

absl::Status publish_checkpoint(const std::string& folder, int64_t step, uint64_t epoch) {
  const std::string from = absl::StrCat(folder, "/", pending_folder_name(step, epoch));
  const std::string to = absl::StrCat(folder, "/", step_folder_name(step));
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0)
    return errno_status("cannot publish", to, errno);
  return sync_folder(folder);
}

CheckpointWriter::~CheckpointWriter() {
  if (thread_.joinable()) thread_.join();
}

absl::Status CheckpointWriter::begin(const CheckpointHeader& header, const CheckpointContent& content) {
  GALLEON_CHECK(!under_way()) << "a checkpoint of step " << step() << " is under way";
  // Rank 0 names the folder: in a local run each rank has an epoch of its own.
  pending_ =
      communicator_.all_gather_text(absl::StrCat(folder_, "/", pending_folder_name(header.step, header.epoch)))[0];
  std::error_code error;
  absl::Status prepared;
  if (communicator_.rank() == 0) {
    fs::remove_all(pending_, error);
    prepared = make_folders(pending_ + "/optimizer");
    if (prepared.ok() && content.lora.has_value() && !content.adapter_base.empty())
      prepared = make_folders(absl::StrCat(pending_, "/", kPeftFolder));
  }
  // Nobody writes before the folder exists.
  const bool exists = communicator_.all_gather_text(prepared.ok() ? "" : "failed")[0].empty();

  Part part;
  part.status = prepared;
  if (exists && communicator_.status().ok()) part = write_part(pending_, content, communicator_);
  const std::vector<std::string> texts = communicator_.all_gather_text(part_to_text(part));
  const absl::StatusOr<Json> files = merge_parts(texts, part.weights_hash);
  if (!communicator_.status().ok()) return communicator_.status();
  if (!files.ok()) {  // and by now nobody writes any more
    if (communicator_.rank() == 0) fs::remove_all(pending_, error);
    return files.status();
  }
  header_ = header;
  header_->weights_hash = part.weights_hash;
  header_->ranks = communicator_.ranks();
  header_->counts = content.optimizer.counts();
  header_->paces = content.optimizer.paces();
  files_ = files->dump();
  unflushed_ = std::move(part.unflushed);
  flushed_ = false;
  thread_ = std::thread([this] { flush(); });
  return absl::OkStatus();
}

void CheckpointWriter::flush() {
  absl::Status status;
  for (const auto& [path, file] : unflushed_) {
    if (::fsync(file.get()) != 0) status.Update(errno_status("cannot flush", path, errno));
  }
  unflushed_.clear();
  flush_status_ = std::move(status);
  flushed_ = true;
}

absl::Status CheckpointWriter::publish(const PublicationGate& gate) {
  GALLEON_CHECK(under_way()) << "no checkpoint is under way";
  thread_.join();
  const std::string final_folder = absl::StrCat(folder_, "/", step_folder_name(step()));
  const std::vector<std::string> flushes = communicator_.all_gather_text(status_to_text(flush_status_));
  absl::Status verdict = communicator_.status();
  for (const std::string& text : flushes) {
    if (verdict.ok()) verdict = status_from_text(text);
  }
  if (communicator_.rank() == 0) {
    for (const char* part : {"optimizer", kPeftFolder}) {
      const std::string folder = absl::StrCat(pending_, "/", part);
      std::error_code error;
      if (verdict.ok() && fs::exists(folder, error)) verdict = sync_folder(folder);
    }
    if (verdict.ok()) verdict = write_manifest(pending_, *header_, Json::parse(files_));
    if (verdict.ok()) verdict = gate(step(), final_folder);
    if (verdict.ok()) verdict = publish_checkpoint(folder_, step(), header_->epoch);
    std::error_code error;
    if (!verdict.ok()) fs::remove_all(pending_, error);
  }
  header_.reset();
  const std::vector<std::string> verdicts = communicator_.all_gather_text(status_to_text(verdict));
  return communicator_.status().ok() ? status_from_text(verdicts[0]) : communicator_.status();
}

}  // namespace galleon
