#include "worker/engine/storage/arrow/plugin.h"

#include "worker/engine/storage/arrow/objects.h"
#include "worker/engine/storage/arrow/parquet_rows.h"

namespace {

constexpr GalleonArrowFunctions kFunctions = {
    galleon_arrow::list,       galleon_arrow::open,      galleon_arrow::read_at,   galleon_arrow::close,
    galleon_arrow::create,     galleon_arrow::write,     galleon_arrow::finish,    galleon_arrow::abandon,
    galleon_arrow::remove,     galleon_arrow::open_rows, galleon_arrow::read_rows, galleon_arrow::rows_position,
    galleon_arrow::close_rows,
};

}  // namespace

__attribute__((visibility("default"))) const GalleonArrowFunctions* galleon_arrow_functions() {
  return &kFunctions;
}
