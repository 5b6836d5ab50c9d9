#include "worker/engine/storage/local_copy.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/object_address.h"
#include "common/base/status_macros.h"
#include "worker/engine/storage/object_store.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kWeights = ".safetensors";
constexpr absl::string_view kTaken[] = {".json", ".jsonl", ".txt", ".model", ".jinja", ".tiktoken"};
constexpr int64_t kLongestHeader = int64_t{128} << 20;
constexpr auto kKept = std::chrono::hours(24 * 30);

std::string name_of(const std::string& address) {
  return address.substr(address.rfind('/') + 1);
}

// FNV-1a.
uint64_t hash_of(absl::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

struct Listing {
  bool is_file = false;  // the address is that of one object
  std::vector<StoredObject> files;
};

absl::StatusOr<Listing> list(const std::string& address, CopiedWeights weights) {
  ASSIGN_OR_RETURN(std::vector<StoredObject> found, list_objects(address));
  Listing listing;
  listing.is_file = found.size() == 1 && found[0].address == address;
  for (StoredObject& object : found) {
    const bool here = object.address.find('/', address.size() + 1) == std::string::npos;
    const bool weight = weights != CopiedWeights::kNone && absl::EndsWith(object.address, kWeights);
    const bool taken = std::any_of(std::begin(kTaken), std::end(kTaken),
                                   [&](absl::string_view end) { return absl::EndsWith(object.address, end); });
    if (listing.is_file || (here && (weight || taken))) listing.files.push_back(std::move(object));
  }
  if (listing.files.empty())
    return absl::NotFoundError(absl::StrCat(address, " does not exist, or has no files that are read"));
  return listing;
}

// The first 8 bytes of a safetensors file are its header's length.
absl::Status copy_header(const StoredObject& object, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ObjectFile> file, ObjectFile::open(object.address));
  uint64_t length = 0;
  ASSIGN_OR_RETURN(const int64_t n, file->read_at(0, reinterpret_cast<char*>(&length), sizeof(length)));
  const int64_t all =
      std::min<int64_t>(file->size(), n + static_cast<int64_t>(std::min<uint64_t>(length, kLongestHeader)));
  std::string head(static_cast<size_t>(all), '\0');
  RETURN_IF_ERROR(file->read_at(0, head.data(), all).status());
  RETURN_IF_ERROR(write_file_atomically(path, head));
  if (::truncate(path.c_str(), file->size()) != 0) return errno_status("cannot write", path, errno);
  return absl::OkStatus();
}

absl::Status fill(const Listing& listing, CopiedWeights weights, const std::string& folder) {
  for (const StoredObject& object : listing.files) {
    const std::string path = absl::StrCat(folder, "/", name_of(object.address));
    std::error_code error;
    if (fs::exists(path, error)) continue;
    const bool header = weights == CopiedWeights::kHeaders && absl::EndsWith(path, kWeights);
    RETURN_IF_ERROR(header ? copy_header(object, path) : download_file(object.address, path));
  }
  return absl::OkStatus();
}

void remove_old(const std::string& cache, const std::string& but) {
  std::error_code error;
  std::vector<fs::path> old;
  for (const fs::directory_entry& entry : fs::directory_iterator(cache, error)) {
    if (entry.path().filename() == but || !entry.is_directory(error)) continue;
    const auto used = fs::last_write_time(entry.path(), error);
    if (!error && fs::file_time_type::clock::now() - used > kKept) old.push_back(entry.path());
  }
  for (const fs::path& path : old) fs::remove_all(path, error);
}

}  // namespace

std::string cache_folder() {
  const auto from = [](const char* name, const char* below) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0' ? absl::StrCat(value, below) : std::string();
  };
  for (const std::string& folder :
       {from("GALLEON_CACHE", ""), from("XDG_CACHE_HOME", "/galleon"), from("HOME", "/.cache/galleon")})
    if (!folder.empty()) return folder;
  return absl::StrCat("/tmp/galleon-cache-", ::getuid());
}

absl::StatusOr<std::string> local_copy(const std::string& given, CopiedWeights weights) {
  const std::string address = without_trailing_slashes(given);
  ASSIGN_OR_RETURN(const Listing listing, list(address, weights));
  std::string content = absl::StrCat(address, "\n", static_cast<int>(weights));
  for (const StoredObject& object : listing.files)
    absl::StrAppend(&content, "\n", object.address, " ", object.size, " ", object.changed);
  const std::string name = absl::StrCat(absl::Hex(hash_of(content), absl::kZeroPad16));
  const std::string cache = absl::StrCat(cache_folder(), "/objects");
  const std::string folder = absl::StrCat(cache, "/", name);
  RETURN_IF_ERROR(make_folders(folder));
  // One process fills it; the lock ends with the process.
  const FileDescriptor lock(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock.valid() || ::flock(lock.get(), LOCK_EX) != 0) return errno_status("cannot lock", folder, errno);
  if (absl::Status filled = fill(listing, weights, folder); !filled.ok()) return filled;
  std::error_code error;
  fs::last_write_time(folder, fs::file_time_type::clock::now(), error);
  remove_old(cache, name);
  return listing.is_file ? absl::StrCat(folder, "/", name_of(address)) : folder;
}

absl::StatusOr<std::string> on_this_machine(const std::string& place, CopiedWeights weights, const std::string& key) {
  if (!is_address(place)) return place;
  absl::StatusOr<std::string> here = local_copy(place, weights);
  if (here.ok()) return here;
  return absl::Status(here.status().code(), absl::StrCat(key, ": ", here.status().message()));
}

}  // namespace galleon
