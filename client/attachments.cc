#include "client/attachments.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/object_address.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "common/net/certificates.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

// What the scheduler takes: three large vocabularies' worth. Each piece stays below the 512 KiB of a call.
constexpr uint64_t kMostBytes = uint64_t{32} << 20;
constexpr size_t kPiece = 384 << 10;
// Of a tokenizer's folder. Whatever else lies there stays here.
constexpr const char* kTokenizerFiles[] = {"tokenizer.json",
                                           "tokenizer.model",
                                           "spiece.model",
                                           "vocab.json",
                                           "merges.txt",
                                           "vocab.txt",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "generation_config.json",
                                           "chat_template.jinja"};
constexpr const char* kModelFiles[] = {"config.json"};

absl::Status refused(const std::string& key, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("--attach ", key, ": ", why));
}

absl::Status add_file(const std::string& key, const std::string& path, const std::string& name, Attachments& into) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  if (error || !fs::is_regular_file(path, error)) return refused(key, absl::StrCat(path, " is no file"));
  uint64_t sum = bytes;
  for (const Attachment& file : into.files) sum += file.content.size();
  if (sum > kMostBytes) {
    return refused(key, absl::StrCat(path, " makes ", sum, " bytes of it, and at most ", kMostBytes >> 20,
                                     " MiB are sent with a job; put it where workers read"));
  }
  ASSIGN_OR_RETURN(std::string content, read_to_parse(path, kMostBytes));
  std::string digest = sha256_hex(content);
  into.files.push_back({name, std::move(content), std::move(digest)});
  return absl::OkStatus();
}

template <size_t kCount>
absl::Status add_folder(const std::string& key, const std::string& folder, const std::string& below,
                        const char* const (&names)[kCount], Attachments& into) {
  const size_t before = into.files.size();
  for (const char* name : names) {
    std::error_code error;
    const std::string path = (fs::path(folder) / name).string();
    if (fs::exists(path, error)) RETURN_IF_ERROR(add_file(key, path, absl::StrCat(below, "/", name), into));
  }
  if (into.files.size() > before) return absl::OkStatus();
  return refused(key, absl::StrCat(folder, " has nothing of it, such as ", names[0]));
}

absl::Status add_one(const std::string& key, const std::string& path, const std::string& name, Attachments& into) {
  RETURN_IF_ERROR(add_file(key, path, name, into));
  into.paths.emplace_back(key, "attached:" + name);
  return absl::OkStatus();
}

absl::Status add_tokenizer(const std::string& key, const std::string& path, Attachments& into) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    into.paths.emplace_back(key, "attached:tokenizer");
    return add_folder(key, path, "tokenizer", kTokenizerFiles, into);
  }
  return add_one(key, path, absl::EndsWith(path, ".model") ? "tokenizer/tokenizer.model" : "tokenizer/tokenizer.json",
                 into);
}

absl::Status add_model(const v1::Job& job, const std::string& key, const std::string& path, Attachments& into) {
  if (job.model().init() != v1::Model::INIT_RANDOM) {
    return refused(key,
                   "weights are never sent, and model.init: pretrained begins with them; put the folder where "
                   "workers read");
  }
  into.paths.emplace_back(key, "attached:model");
  return add_folder(key, path, "model", kModelFiles, into);
}

absl::Status add_key(const v1::Job& job, const std::string& key, Attachments& into) {
  const std::string& path = key == "tokenizer"            ? job.tokenizer()
                            : key == "data.chat_template" ? job.data().chat_template()
                                                          : job.model().source();
  if (path.empty() || path == "bytes" || absl::StartsWith(path, "preset:"))
    return refused(key, absl::StrCat("the job names no file there", path.empty() ? "" : ", but ", path));
  if (is_address(path)) return refused(key, absl::StrCat(path, " is an address; workers read it there"));
  std::error_code error;
  if (!fs::exists(path, error)) return refused(key, absl::StrCat("there is no ", path, " on this machine"));
  if (key == "tokenizer") return add_tokenizer(key, path, into);
  if (key == "data.chat_template") return add_one(key, path, "chat/template.jinja", into);
  return add_model(job, key, path, into);
}

}  // namespace

absl::StatusOr<Attachments> attachments_of(const v1::Job& job, const std::vector<std::string>& keys) {
  Attachments attached;
  std::vector<std::string> once = keys;
  std::sort(once.begin(), once.end());
  once.erase(std::unique(once.begin(), once.end()), once.end());
  for (const std::string& key : once) RETURN_IF_ERROR(add_key(job, key, attached));
  return attached;
}

v1::Job with_attachments(v1::Job job, const Attachments& attached) {
  for (const auto& [key, value] : attached.paths) {
    if (key == "tokenizer") {
      job.set_tokenizer(value);
    } else if (key == "data.chat_template") {
      job.mutable_data()->set_chat_template(value);
    } else {
      job.mutable_model()->set_source(value);
    }
  }
  for (const Attachment& file : attached.files) {
    v1::AttachedFile& sent = *job.add_attached();
    sent.set_name(file.name);
    sent.set_bytes(file.content.size());
    sent.set_sha256(file.sha256);
  }
  return job;
}

absl::Status send(JobClient& client, const Attachments& attached, const std::string& request_id) {
  for (const Attachment& file : attached.files) {
    v1::AttachFileRequest request;
    request.set_request_id(request_id);
    request.set_name(file.name);
    size_t sent = 0;
    do {
      const size_t bytes = std::min(kPiece, file.content.size() - sent);
      request.set_offset(sent);
      request.set_data(file.content.substr(sent, bytes));
      RETURN_IF_ERROR(client.attach_file(request).status());
      sent += bytes;
    } while (sent < file.content.size());
  }
  return absl::OkStatus();
}

}  // namespace galleon
