// Files of object stores, as plugin.h offers them.
#pragma once

#include "worker/engine/storage/arrow/plugin.h"

namespace galleon_arrow {

bool list(const char* address,
          void (*take)(void* context, const char* address, size_t length, int64_t size, int64_t changed), void* context,
          GalleonArrowFailure* failure);
GalleonArrowFile* open(const char* address, int64_t* size, GalleonArrowFailure* failure);
int64_t read_at(GalleonArrowFile* file, int64_t offset, char* out, int64_t size, GalleonArrowFailure* failure);
void close(GalleonArrowFile* file);
GalleonArrowUpload* create(const char* address, GalleonArrowFailure* failure);
bool write(GalleonArrowUpload* upload, const char* bytes, int64_t size, GalleonArrowFailure* failure);
bool finish(GalleonArrowUpload* upload, GalleonArrowFailure* failure);
void abandon(GalleonArrowUpload* upload);
bool remove(const char* address, GalleonArrowFailure* failure);

}  // namespace galleon_arrow
