#include "worker/engine/data/parquet_rows.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/object_address.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/read_ahead.h"
#include "worker/engine/storage/arrow_library.h"

namespace galleon {

namespace {

constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kPiecesAhead = 8;

class ParquetRows final : public InputStream {
 public:
  ParquetRows(const GalleonArrowFunctions& functions, GalleonArrowRows* rows, std::string path)
      : functions_(functions), rows_(rows), path_(std::move(path)) {}
  ~ParquetRows() override { functions_.close_rows(rows_); }

  absl::StatusOr<size_t> read(char* out, size_t size) override {
    ArrowFailure failure;
    const int64_t n = functions_.read_rows(rows_, out, static_cast<int64_t>(size), failure.get());
    if (n < 0) return failure.status(path_);
    return static_cast<size_t>(n);
  }
  int64_t position() const override { return functions_.rows_position(rows_); }

 private:
  const GalleonArrowFunctions& functions_;
  GalleonArrowRows* rows_;
  std::string path_;
};

}  // namespace

bool is_parquet(absl::string_view head) {
  return absl::StartsWith(head, "PAR1");
}

absl::StatusOr<std::unique_ptr<InputStream>> open_parquet_rows(const std::string& path,
                                                               const std::vector<std::string>& columns) {
  absl::StatusOr<const GalleonArrowFunctions*> functions = arrow_functions();
  if (!functions.ok())
    return absl::Status(functions.status().code(), absl::StrCat(path, ": ", functions.status().message()));
  std::vector<const char*> names;
  for (const std::string& column : columns) names.push_back(column.c_str());
  FileDescriptor file;
  std::string opened = path;
  if (!is_address(path)) {
    ASSIGN_OR_RETURN(file, open_to_read(path));
    opened = absl::StrCat("/proc/self/fd/", file.get());
  }
  GalleonArrowRows* rows = nullptr;
  RETURN_IF_ERROR(with_retries(path, [&](GalleonArrowFailure* failure) {
    rows = (*functions)->open_rows(opened.c_str(), names.data(), names.size(), failure);
    return rows != nullptr;
  }));
  return read_ahead(std::make_unique<ParquetRows>(**functions, rows, path), kPieceBytes, kPiecesAhead, 0);
}

}  // namespace galleon
