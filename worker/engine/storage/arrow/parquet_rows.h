// Rows of Parquet files, as plugin.h offers them.
#pragma once

#include "worker/engine/storage/arrow/plugin.h"

namespace galleon_arrow {

GalleonArrowRows* open_rows(const char* path, const char* const* columns, size_t count, GalleonArrowFailure* failure);
int64_t read_rows(GalleonArrowRows* rows, char* out, int64_t size, GalleonArrowFailure* failure);
int64_t rows_position(const GalleonArrowRows* rows);
void close_rows(GalleonArrowRows* rows);

}  // namespace galleon_arrow
