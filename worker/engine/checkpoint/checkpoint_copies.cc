#include "worker/engine/checkpoint/checkpoint_copies.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/files.h"
#include "common/base/object_address.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/manifest.h"
#include "worker/engine/storage/object_store.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// What has been written of a copy, beside the checkpoints.
constexpr const char* kProgress = ".copied.json";
constexpr int64_t kSample = int64_t{1} << 20;

// Objects below an address by their names behind it.
absl::StatusOr<std::map<std::string, int64_t>> sizes_below(const std::string& address) {
  ASSIGN_OR_RETURN(const std::vector<StoredObject> objects, list_objects(address));
  std::map<std::string, int64_t> sizes;
  for (const StoredObject& object : objects)
    if (object.address.size() > address.size()) sizes[object.address.substr(address.size() + 1)] = object.size;
  return sizes;
}

// The steps below an address: by number, whether they have a manifest.
absl::StatusOr<std::map<int64_t, bool>> steps_below(const std::string& address) {
  ASSIGN_OR_RETURN(const auto sizes, sizes_below(without_trailing_slashes(address)));
  std::map<int64_t, bool> steps;
  for (const auto& [name, size] : sizes) {
    const size_t slash = name.find('/');
    int64_t step = 0;
    if (slash == std::string::npos || !absl::StartsWith(name, "step-") ||
        !absl::SimpleAtoi(name.substr(5, slash - 5), &step) || step_folder_name(step) != name.substr(0, slash))
      continue;
    steps[step] = steps[step] || name.substr(slash + 1) == kManifest;
  }
  return steps;
}

// What an earlier attempt has written of this copy: checksums by name.
class CopyProgress {
 public:
  CopyProgress(const std::string& folder, std::string address)
      : path_(absl::StrCat(folder, "/", kProgress)), address_(std::move(address)) {
    const absl::StatusOr<std::string> text = read_file(path_);
    const Json json = text.ok() ? Json::parse(*text, nullptr, false) : Json();
    // What is not as it was written, or of another copy, counts for nothing.
    if (!json.is_object() || !json.contains("address") || json["address"] != address_) return;
    if (json.contains("files") && json["files"].is_object()) files_ = json["files"];
  }
  bool has(const CheckpointFile& file) const { return files_.contains(file.name) && files_[file.name] == file.crc32; }
  absl::Status add(const CheckpointFile& file) {
    files_[file.name] = file.crc32;
    return write_file_atomically(path_, Json{{"address", address_}, {"files", files_}}.dump());
  }

 private:
  std::string path_;
  std::string address_;
  Json files_ = Json::object();
};

// Sizes, and a megabyte of the beginning, the middle and the end.
absl::Status compare(const std::string& path, int64_t bytes, const std::string& address) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ObjectFile> object, ObjectFile::open(address));
  if (object->size() != bytes)
    return absl::DataLossError(absl::StrCat(address, " has ", object->size(), " bytes instead of ", bytes));
  ASSIGN_OR_RETURN(const FileDescriptor file, open_to_read(path));
  std::string here(kSample, '\0');
  std::string there(kSample, '\0');
  for (const int64_t begin : {int64_t{0}, bytes / 2, std::max<int64_t>(0, bytes - kSample)}) {
    const int64_t size = std::min(kSample, bytes - begin);
    ASSIGN_OR_RETURN(int64_t n, object->read_at(begin, there.data(), size));
    if (n != size || ::pread(file.get(), here.data(), static_cast<size_t>(size), begin) != size ||
        here.compare(0, size, there, 0, size) != 0)
      return absl::DataLossError(absl::StrCat(address, " differs from ", path));
  }
  return absl::OkStatus();
}

absl::Status remove_copy(const std::string& address) {
  // Without its manifest it does not exist, whatever happens during the rest.
  ASSIGN_OR_RETURN(const auto sizes, sizes_below(address));
  if (sizes.contains(kManifest)) RETURN_IF_ERROR(remove_object(absl::StrCat(address, "/", kManifest)));
  for (const auto& [name, size] : sizes)
    if (name != kManifest) RETURN_IF_ERROR(remove_object(absl::StrCat(address, "/", name)));
  return absl::OkStatus();
}

absl::Status prune_copies(const std::string& address, int64_t newest, int64_t keep) {
  ASSIGN_OR_RETURN(const auto steps, steps_below(address));
  int64_t kept = 0;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    // Those beyond the newest are another run's, from before it went back.
    if (step->first > newest) continue;
    if (step->second && kept++ < std::max<int64_t>(keep, 1)) continue;
    RETURN_IF_ERROR(remove_copy(copy_address(address, step->first)));
  }
  return absl::OkStatus();
}

}  // namespace

std::string copy_address(const std::string& address, int64_t step) {
  return absl::StrCat(without_trailing_slashes(address), "/", step_folder_name(step));
}

absl::StatusOr<std::vector<int64_t>> list_copies(const std::string& address) {
  ASSIGN_OR_RETURN(const auto steps, steps_below(address));
  std::vector<int64_t> complete;
  for (const auto& [step, has_manifest] : steps)
    if (has_manifest) complete.push_back(step);
  return complete;
}

absl::Status check_copies_can_be_written(const std::string& address) {
  const std::string probe = absl::StrCat(without_trailing_slashes(address), "/galleon-can-write");
  RETURN_IF_ERROR(upload_bytes("galleon checks whether checkpoints can be copied here\n", probe));
  return remove_object(probe);
}

absl::StatusOr<int64_t> copy_checkpoint(const std::string& folder, int64_t step, const std::string& address,
                                        int64_t keep, const std::function<bool()>& wanted) {
  const std::string from = absl::StrCat(folder, "/", step_folder_name(step));
  const std::string to = copy_address(address, step);
  ASSIGN_OR_RETURN(const std::vector<CheckpointFile> files, checkpoint_files(from));
  ASSIGN_OR_RETURN(auto there, sizes_below(to));
  const std::string manifest = absl::StrCat(to, "/", kManifest);
  // What lies there may be of another run that was at this step.
  if (there.contains(kManifest)) RETURN_IF_ERROR(remove_object(manifest));
  CopyProgress progress(folder, to);
  int64_t bytes = 0;
  for (const CheckpointFile& file : files) {
    const auto found = there.find(file.name);
    if (found != there.end() && found->second == file.bytes && progress.has(file)) continue;
    RETURN_IF_ERROR(upload_file(absl::StrCat(from, "/", file.name), absl::StrCat(to, "/", file.name), wanted));
    RETURN_IF_ERROR(progress.add(file));
    bytes += file.bytes;
  }
  for (const CheckpointFile& file : files)
    RETURN_IF_ERROR(compare(absl::StrCat(from, "/", file.name), file.bytes, absl::StrCat(to, "/", file.name)));
  RETURN_IF_ERROR(upload_file(absl::StrCat(from, "/", kManifest), manifest, wanted));
  RETURN_IF_ERROR(prune_copies(address, step, keep));
  return bytes;
}

absl::Status fetch_checkpoint(const std::string& address, const std::string& into) {
  const std::string from = without_trailing_slashes(address);
  RETURN_IF_ERROR(make_folders(into));
  const std::string manifest = absl::StrCat(into, "/", kManifest);
  if (absl::Status s = download_file(absl::StrCat(from, "/", kManifest), manifest); !s.ok()) {
    if (!absl::IsNotFound(s)) return s;
    return absl::NotFoundError(absl::StrCat(from, " is not a checkpoint: it has no ", kManifest));
  }
  ASSIGN_OR_RETURN(const std::vector<CheckpointFile> files, checkpoint_files(into));
  for (const CheckpointFile& file : files) {
    const fs::path path = fs::path(into) / file.name;
    std::error_code error;
    if (static_cast<int64_t>(fs::file_size(path, error)) == file.bytes && !error) continue;
    RETURN_IF_ERROR(make_folders(path.parent_path().string()));
    RETURN_IF_ERROR(download_file(absl::StrCat(from, "/", file.name), path.string()));
  }
  absl::Status sound = verify_checkpoint(into, true);
  // So that the next attempt does not take it for a part that is there.
  std::error_code error;
  if (!sound.ok()) fs::remove_all(into, error);
  return sound;
}

CheckpointCopier::CheckpointCopier(std::string folder, std::string address, int64_t keep)
    : folder_(std::move(folder)), address_(std::move(address)), keep_(keep), thread_([this] { run(); }) {}

absl::StatusOr<std::unique_ptr<CheckpointCopier>> CheckpointCopier::start(const std::string& folder,
                                                                          const std::string& address, int64_t keep,
                                                                          int64_t step) {
  const absl::Status usable = check_copies_can_be_written(address);
  if (!usable.ok()) return absl::Status(usable.code(), absl::StrCat("checkpoint.copy_to: ", usable.message()));
  ASSIGN_OR_RETURN(const std::vector<int64_t> copies, list_copies(address));
  std::unique_ptr<CheckpointCopier> copier(new CheckpointCopier(folder, address, keep));
  const std::vector<int64_t> here = list_checkpoints(folder);
  const bool copied = std::find(copies.begin(), copies.end(), step) != copies.end();
  if (!here.empty() && here.back() == step && !copied) copier->add(step);
  return copier;
}

CheckpointCopier::~CheckpointCopier() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CheckpointCopier::add(int64_t step) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    next_ = newest_ = step;
  }
  changed_.notify_all();
}

int64_t CheckpointCopier::copying() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return copying_;
}

absl::Status CheckpointCopier::finish() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return !next_.has_value() && copying_ == 0; });
  if (status_.ok()) return status_;
  return absl::Status(status_.code(), absl::StrCat("the checkpoint of step ", newest_,
                                                   " is saved, and could not be copied: ", status_.message()));
}

std::vector<std::string> CheckpointCopier::notes() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(notes_, {});
}

void CheckpointCopier::run() {
  const auto wanted = [this] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return !ended_;
  };
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ended_ || next_.has_value(); });
    if (ended_) return;
    const int64_t step = copying_ = *std::exchange(next_, std::nullopt);
    lock.unlock();
    const auto start = std::chrono::steady_clock::now();
    const absl::StatusOr<int64_t> bytes = copy_checkpoint(folder_, step, address_, keep_, wanted);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    lock.lock();
    copying_ = 0;
    status_ = bytes.status();
    if (bytes.ok()) {
      notes_.push_back(absl::StrFormat("step %d to %s: %.1f MB in %.1f s", step, copy_address(address_, step),
                                       static_cast<double>(*bytes) * 1e-6, seconds));
    } else if (!absl::IsCancelled(bytes.status())) {
      notes_.push_back(absl::StrCat("step ", step, " could not be copied: ", bytes.status().message()));
    }
    changed_.notify_all();
  }
}

}  // namespace galleon
