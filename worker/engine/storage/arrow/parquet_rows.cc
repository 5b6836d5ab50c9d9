#include "worker/engine/storage/arrow/parquet_rows.h"

#include <arrow/record_batch.h>
#include <arrow/util/utf8.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "worker/engine/storage/arrow/file_systems.h"
#include "worker/engine/storage/arrow/json_values.h"

using arrow::Result;
using arrow::Status;

// One row group after the other, so that never more than one lies in memory.
struct GalleonArrowRows {
 public:
  Status open(const std::string& path, const std::vector<std::string>& columns);
  Result<int64_t> read(char* out, int64_t size);
  int64_t position() const;

 private:
  Status choose(const std::vector<std::string>& columns);
  Status next_batch();
  Status append_row();

  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::vector<int> leaves_;  // of the columns that are read
  std::unique_ptr<arrow::RecordBatchReader> group_;
  int next_group_ = 0;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t row_ = 0;        // of the batch
  int64_t rows_done_ = 0;  // of the file
  int64_t rows_ = 0;
  int64_t bytes_ = 0;
  std::string text_;
  size_t taken_ = 0;
};

namespace {

// Rows that are decoded at once: texts of a megabyte each must not fill a machine.
constexpr int64_t kRowsAtOnce = 128;
// Of a file on this machine: what is read at once of a column.
constexpr int64_t kColumnBuffer = int64_t{1} << 20;

std::string names_of(const arrow::Schema& schema) {
  constexpr int kShown = 20;
  std::string names;
  for (int i = 0; i < std::min(schema.num_fields(), kShown); ++i)
    names += (i == 0 ? "" : ", ") + schema.field(i)->name();
  return schema.num_fields() > kShown ? names + ", ..." : names;
}

void add_leaves(const parquet::arrow::SchemaField& field, std::vector<int>& leaves) {
  if (field.column_index >= 0) leaves.push_back(field.column_index);
  for (const parquet::arrow::SchemaField& child : field.children) add_leaves(child, leaves);
}

}  // namespace

Status GalleonArrowRows::open(const std::string& path, const std::vector<std::string>& columns) {
  ARROW_ASSIGN_OR_RAISE(const galleon_arrow::Place place, galleon_arrow::place_of(path));
  ARROW_ASSIGN_OR_RAISE(auto file, place.system->OpenInputFile(place.path));
  ARROW_ASSIGN_OR_RAISE(bytes_, file->GetSize());
  const bool local = place.prefix.empty();
  parquet::ReaderProperties properties;
  parquet::ArrowReaderProperties to_arrow(false);
  to_arrow.set_batch_size(kRowsAtOnce);
  // Offsets of 32 bits would be too few for 128 rows of 16 MiB.
  to_arrow.set_binary_type(arrow::Type::LARGE_BINARY);
  to_arrow.set_list_type(arrow::Type::LARGE_LIST);
  // A store is asked for a row group in few large pieces, a disk as rows are wanted.
  to_arrow.set_pre_buffer(!local);
  if (local) {
    properties.enable_buffered_stream();
    properties.set_buffer_size(kColumnBuffer);
  }
  parquet::arrow::FileReaderBuilder builder;
  ARROW_RETURN_NOT_OK(builder.Open(std::move(file), properties));
  builder.properties(to_arrow);
  ARROW_ASSIGN_OR_RAISE(reader_, builder.Build());
  rows_ = reader_->parquet_reader()->metadata()->num_rows();
  return choose(columns);
}

int64_t GalleonArrowRows::position() const {
  if (rows_done_ >= rows_) return bytes_;
  return static_cast<int64_t>(static_cast<double>(bytes_) * static_cast<double>(rows_done_) /
                              static_cast<double>(rows_));
}

Status GalleonArrowRows::choose(const std::vector<std::string>& columns) {
  std::shared_ptr<arrow::Schema> schema;
  ARROW_RETURN_NOT_OK(reader_->GetSchema(&schema));
  for (const std::string& name : columns) {
    const size_t found = schema->GetAllFieldIndices(name).size();
    if (found == 0) return Status::Invalid("it has no column \"", name, "\"; its columns are ", names_of(*schema));
    if (found > 1) return Status::Invalid("it has ", found, " columns named \"", name, "\"");
  }
  const parquet::arrow::SchemaManifest& manifest = reader_->manifest();
  for (int i = 0; i < schema->num_fields(); ++i) {
    const arrow::Field& field = *schema->field(i);
    if (!columns.empty() && std::find(columns.begin(), columns.end(), field.name()) == columns.end()) continue;
    if (std::string why; !galleon_arrow::has_json_form(*field.type(), why))
      return Status::Invalid("its column \"", field.name(), "\" holds ", why, ", which is not read");
    add_leaves(manifest.schema_fields[i], leaves_);
  }
  if (leaves_.empty()) return Status::Invalid("it has no columns");
  return Status::OK();
}

Status GalleonArrowRows::next_batch() {
  batch_ = nullptr;
  row_ = 0;
  while (batch_ == nullptr) {
    if (group_ == nullptr) {
      if (next_group_ == reader_->num_row_groups()) return Status::OK();
      ARROW_ASSIGN_OR_RAISE(group_, reader_->GetRecordBatchReader({next_group_++}, leaves_));
    }
    ARROW_RETURN_NOT_OK(group_->ReadNext(&batch_));
    if (batch_ == nullptr) group_ = nullptr;
  }
  return Status::OK();
}

Status GalleonArrowRows::append_row() {
  text_ += '{';
  for (int i = 0; i < batch_->num_columns(); ++i) {
    if (i > 0) text_ += ',';
    const std::string& name = batch_->column_name(i);
    galleon_arrow::append_json_string(name.data(), name.size(), text_);
    text_ += ':';
    if (const Status status = galleon_arrow::append_json(*batch_->column(i), row_, text_); !status.ok())
      return Status::Invalid("row ", rows_done_ + 1, ", column \"", name, "\": ", status.message());
  }
  text_ += "}\n";
  ++row_;
  ++rows_done_;
  return Status::OK();
}

Result<int64_t> GalleonArrowRows::read(char* out, int64_t size) {
  if (taken_ == text_.size()) {
    text_.clear();
    taken_ = 0;
    while (text_.size() < static_cast<size_t>(size)) {
      if (batch_ == nullptr || row_ == batch_->num_rows()) {
        ARROW_RETURN_NOT_OK(next_batch());
        if (batch_ == nullptr) break;
        continue;
      }
      ARROW_RETURN_NOT_OK(append_row());
    }
  }
  const size_t n = std::min(text_.size() - taken_, static_cast<size_t>(size));
  std::memcpy(out, text_.data() + taken_, n);
  taken_ += n;
  return static_cast<int64_t>(n);
}

namespace galleon_arrow {

namespace {

Status caught(const std::exception& e) {
  return Status::Invalid(e.what());
}

}  // namespace

GalleonArrowRows* open_rows(const char* path, const char* const* columns, size_t count, GalleonArrowFailure* failure) {
  arrow::util::InitializeUTF8();
  auto rows = std::make_unique<GalleonArrowRows>();
  Status status;
  try {
    status = rows->open(path, std::vector<std::string>(columns, columns + count));
  } catch (const std::exception& e) {
    status = caught(e);
  }
  if (status.ok()) return rows.release();
  fail(status, failure);
  return nullptr;
}

int64_t read_rows(GalleonArrowRows* rows, char* out, int64_t size, GalleonArrowFailure* failure) {
  Result<int64_t> read = 0;
  try {
    read = rows->read(out, size);
  } catch (const std::exception& e) {
    read = caught(e);
  }
  if (read.ok()) return *read;
  fail(read.status(), failure);
  return -1;
}

int64_t rows_position(const GalleonArrowRows* rows) {
  return rows->position();
}

void close_rows(GalleonArrowRows* rows) {
  delete rows;
}

}  // namespace galleon_arrow
