#include "worker/engine/storage/arrow/objects.h"

#include <arrow/io/interfaces.h>

#include <algorithm>

#include "worker/engine/storage/arrow/file_systems.h"

struct GalleonArrowFile {
  std::shared_ptr<arrow::io::RandomAccessFile> file;
};

struct GalleonArrowUpload {
  std::shared_ptr<arrow::io::OutputStream> stream;
};

namespace galleon_arrow {

using arrow::Result;
using arrow::Status;

namespace {

using Take = void (*)(void* context, const char* address, size_t length, int64_t size, int64_t changed);

Status list_objects(const std::string& address, Take take, void* context) {
  ARROW_ASSIGN_OR_RAISE(const Place place, place_of(address));
  const auto tell = [&](const arrow::fs::FileInfo& info) {
    const std::string found = place.prefix + info.path().substr(std::min(place.bucket.size(), info.path().size()));
    take(context, found.data(), found.size(), info.size(), info.mtime().time_since_epoch().count());
  };
  if (place.path != place.bucket) {
    ARROW_ASSIGN_OR_RAISE(const arrow::fs::FileInfo info, place.system->GetFileInfo(place.path));
    if (info.IsFile()) {
      tell(info);
      return Status::OK();
    }
    if (info.type() == arrow::fs::FileType::NotFound) return Status::OK();
  }
  arrow::fs::FileSelector all;
  all.base_dir = place.path;
  all.recursive = true;
  ARROW_ASSIGN_OR_RAISE(const std::vector<arrow::fs::FileInfo> infos, place.system->GetFileInfo(all));
  for (const arrow::fs::FileInfo& info : infos) {
    if (info.IsFile()) tell(info);
  }
  return Status::OK();
}

Result<GalleonArrowFile*> open_object(const std::string& address, int64_t* size) {
  ARROW_ASSIGN_OR_RAISE(const Place place, place_of(address));
  ARROW_ASSIGN_OR_RAISE(auto file, place.system->OpenInputFile(place.path));
  ARROW_ASSIGN_OR_RAISE(*size, file->GetSize());
  return new GalleonArrowFile{std::move(file)};
}

Result<GalleonArrowUpload*> create_object(const std::string& address) {
  ARROW_ASSIGN_OR_RAISE(const Place place, place_of(address));
  ARROW_ASSIGN_OR_RAISE(auto stream, place.system->OpenOutputStream(place.path));
  return new GalleonArrowUpload{std::move(stream)};
}

Status remove_object(const std::string& address) {
  ARROW_ASSIGN_OR_RAISE(const Place place, place_of(address));
  return place.system->DeleteFile(place.path);
}

}  // namespace

bool list(const char* address, Take take, void* context, GalleonArrowFailure* failure) {
  const Status status = list_objects(address, take, context);
  return status.ok() || fail(status, failure);
}

GalleonArrowFile* open(const char* address, int64_t* size, GalleonArrowFailure* failure) {
  Result<GalleonArrowFile*> file = open_object(address, size);
  if (file.ok()) return *file;
  fail(file.status(), failure);
  return nullptr;
}

int64_t read_at(GalleonArrowFile* file, int64_t offset, char* out, int64_t size, GalleonArrowFailure* failure) {
  const Result<int64_t> read = file->file->ReadAt(offset, size, out);
  if (read.ok()) return *read;
  fail(read.status(), failure);
  return -1;
}

void close(GalleonArrowFile* file) {
  (void)file->file->Close();
  delete file;
}

GalleonArrowUpload* create(const char* address, GalleonArrowFailure* failure) {
  Result<GalleonArrowUpload*> upload = create_object(address);
  if (upload.ok()) return *upload;
  fail(upload.status(), failure);
  return nullptr;
}

bool write(GalleonArrowUpload* upload, const char* bytes, int64_t size, GalleonArrowFailure* failure) {
  const Status status = upload->stream->Write(bytes, size);
  return status.ok() || fail(status, failure);
}

bool finish(GalleonArrowUpload* upload, GalleonArrowFailure* failure) {
  const Status status = upload->stream->Close();
  delete upload;
  return status.ok() || fail(status, failure);
}

void abandon(GalleonArrowUpload* upload) {
  (void)upload->stream->Abort();
  delete upload;
}

bool remove(const char* address, GalleonArrowFailure* failure) {
  const Status status = remove_object(address);
  return status.ok() || fail(status, failure);
}

}  // namespace galleon_arrow
