#include "worker/engine/storage/object_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/globs.h"
#include "common/base/object_address.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/storage/arrow_library.h"

namespace galleon {

namespace {

constexpr int64_t kPiece = int64_t{8} << 20;

absl::StatusOr<const GalleonArrowFunctions*> functions_for(const std::string& address) {
  RETURN_IF_ERROR(check_address(address));
  return arrow_functions();
}

}  // namespace

absl::StatusOr<std::vector<StoredObject>> list_objects(const std::string& address) {
  ASSIGN_OR_RETURN(const GalleonArrowFunctions* functions, functions_for(address));
  const std::string folder = without_trailing_slashes(address);
  std::vector<StoredObject> objects;
  RETURN_IF_ERROR(with_retries(address, [&](GalleonArrowFailure* failure) {
    objects.clear();
    return functions->list(
        folder.c_str(),
        [](void* context, const char* found, size_t length, int64_t size, int64_t changed) {
          static_cast<std::vector<StoredObject>*>(context)->push_back({std::string(found, length), size, changed});
        },
        &objects, failure);
  }));
  std::sort(objects.begin(), objects.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
  return objects;
}

absl::StatusOr<std::vector<StoredObject>> glob_objects(const std::string& pattern) {
  // A name that exists as it is written wins over what its characters mean.
  const size_t wild = pattern.find_first_of("*?[{");
  if (wild == std::string::npos) {
    ASSIGN_OR_RETURN(std::vector<StoredObject> found, list_objects(pattern));
    std::erase_if(found, [&](const StoredObject& object) { return object.address != pattern; });
    return found;
  }
  const size_t slash = pattern.rfind('/', wild);
  ASSIGN_OR_RETURN(std::vector<StoredObject> found, list_objects(pattern.substr(0, slash)));
  const bool literal =
      std::any_of(found.begin(), found.end(), [&](const auto& object) { return object.address == pattern; });
  std::erase_if(found, [&](const StoredObject& object) {
    return literal ? object.address != pattern : !matches_glob(pattern, object.address);
  });
  return found;
}

absl::StatusOr<std::unique_ptr<ObjectFile>> ObjectFile::open(const std::string& address) {
  ASSIGN_OR_RETURN(const GalleonArrowFunctions* functions, functions_for(address));
  std::unique_ptr<ObjectFile> object(new ObjectFile(*functions, address));
  RETURN_IF_ERROR(with_retries(address, [&](GalleonArrowFailure* failure) {
    object->file_ = functions->open(address.c_str(), &object->size_, failure);
    return object->file_ != nullptr;
  }));
  return object;
}

ObjectFile::~ObjectFile() {
  if (file_ != nullptr) functions_.close(file_);
}

absl::StatusOr<int64_t> ObjectFile::read_at(int64_t offset, char* out, int64_t size) {
  if (offset >= size_) return 0;
  int64_t read = 0;
  RETURN_IF_ERROR(with_retries(address_, [&](GalleonArrowFailure* failure) {
    read = functions_.read_at(file_, offset, out, size, failure);
    return read >= 0;
  }));
  if (read < std::min(size, size_ - offset))
    return absl::DataLossError(absl::StrCat(address_, ": it ends at byte ", offset + read, " of ", size_));
  return read;
}

namespace {

using Source = std::function<absl::StatusOr<int64_t>(int64_t offset, char* out, int64_t size)>;

absl::Status upload(const std::string& address, int64_t size, const Source& read, const std::function<bool()>& wanted) {
  ASSIGN_OR_RETURN(const GalleonArrowFunctions* functions, functions_for(address));
  GalleonArrowUpload* out = nullptr;
  RETURN_IF_ERROR(with_retries(address, [&](GalleonArrowFailure* failure) {
    out = functions->create(address.c_str(), failure);
    return out != nullptr;
  }));
  absl::Cleanup abandon = [&] { functions->abandon(out); };
  ArrowFailure failure;
  std::string piece(static_cast<size_t>(std::min(size, kPiece)), '\0');
  for (int64_t offset = 0; offset < size;) {
    if (!wanted()) return absl::CancelledError(absl::StrCat(address, ": not wanted any more"));
    ASSIGN_OR_RETURN(int64_t n, read(offset, piece.data(), static_cast<int64_t>(piece.size())));
    if (n == 0) return absl::DataLossError(absl::StrCat(address, ": what is copied became shorter"));
    if (!functions->write(out, piece.data(), n, failure.get())) return failure.status(address);
    offset += n;
  }
  std::move(abandon).Cancel();
  return functions->finish(out, failure.get()) ? absl::OkStatus() : failure.status(address);
}

}  // namespace

absl::Status upload_file(const std::string& path, const std::string& address, const std::function<bool()>& wanted) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  if (size < 0) return errno_status("cannot read", path, errno);
  return upload(
      address, size,
      [&](int64_t offset, char* out, int64_t wanted_bytes) -> absl::StatusOr<int64_t> {
        while (true) {
          const ssize_t n = ::pread(file.get(), out, static_cast<size_t>(wanted_bytes), offset);
          if (n >= 0) return n;
          if (errno != EINTR) return errno_status("cannot read", path, errno);
        }
      },
      wanted);
}

absl::Status upload_bytes(absl::string_view bytes, const std::string& address) {
  return upload(
      address, static_cast<int64_t>(bytes.size()),
      [&](int64_t offset, char* out, int64_t size) -> absl::StatusOr<int64_t> {
        return static_cast<int64_t>(bytes.copy(out, static_cast<size_t>(size), static_cast<size_t>(offset)));
      },
      [] { return true; });
}

absl::Status download_file(const std::string& address, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ObjectFile> object, ObjectFile::open(address));
  const std::string pending = absl::StrCat(path, ".part-", ::getpid());
  absl::Cleanup remove = [&] { ::unlink(pending.c_str()); };
  ASSIGN_OR_RETURN(const FileDescriptor file, open_to_write(pending, O_WRONLY | O_CREAT | O_TRUNC));
  std::string piece(static_cast<size_t>(std::min(std::max<int64_t>(object->size(), 1), kPiece)), '\0');
  for (int64_t offset = 0; offset < object->size();) {
    ASSIGN_OR_RETURN(int64_t n, object->read_at(offset, piece.data(), static_cast<int64_t>(piece.size())));
    RETURN_IF_ERROR(write_all(file.get(), absl::string_view(piece).substr(0, static_cast<size_t>(n))));
    offset += n;
  }
  if (::fsync(file.get()) != 0) return errno_status("cannot write", pending, errno);
  if (::rename(pending.c_str(), path.c_str()) != 0) return errno_status("cannot write", path, errno);
  std::move(remove).Cancel();
  return absl::OkStatus();
}

absl::Status remove_object(const std::string& address) {
  ASSIGN_OR_RETURN(const GalleonArrowFunctions* functions, functions_for(address));
  return with_retries(address,
                      [&](GalleonArrowFailure* failure) { return functions->remove(address.c_str(), failure); });
}

}  // namespace galleon
