#include "worker/engine/data/token_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/ground/json_fields.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMostTokens = int64_t{1} << 60;

absl::Status read_at(int fd, const std::string& path, int64_t offset, void* out, size_t bytes) {
  auto* at = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t n = ::pread(fd, at, bytes, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("cannot read", path, errno);
    if (n == 0) return absl::DataLossError(absl::StrCat(path, " is shorter than its index says"));
    at += n;
    offset += n;
    bytes -= static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

class TokenCacheStore final : public SequenceStore {
 public:
  TokenCacheStore(std::string base, CacheLimits limits, std::shared_ptr<const CacheProgress> progress)
      : base_(std::move(base)), limits_(limits), progress_(std::move(progress)) {}

  absl::Status open() {
    RETURN_IF_ERROR(refresh());
    shape_ = index_.shape;
    if (shape_.sequence_length != limits_.sequence_length)
      return absl::DataLossError(absl::StrCat(base_, ".json is of sequences of ", shape_.sequence_length, " tokens"));
    return reopen();
  }

  absl::StatusOr<StoreProgress> wait_for(int64_t sequences, absl::Duration timeout) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (has(index_, sequences)) return state(sequences);
    if (progress_ != nullptr) {
      index_ = progress_->wait([&](const CacheIndex& index) { return enough(index, sequences); }, timeout);
      return state(sequences);
    }
    const absl::Time deadline = absl::Now() + timeout;
    while (true) {
      RETURN_IF_ERROR(refresh());
      if (enough(index_, sequences) || absl::Now() >= deadline) break;
      absl::SleepFor(absl::Milliseconds(50));
    }
    // What another machine wrote is seen by those who open the file afterwards.
    RETURN_IF_ERROR(reopen());
    return state(sequences);
  }

  absl::Status read(int64_t index, Sequence& out) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!shape_.has_sequences) return read_window(index, out);
    SequenceRecord record;
    RETURN_IF_ERROR(read_record(index, record));
    RETURN_IF_ERROR(read_row(static_cast<int64_t>(record.begin), record.length));
    out.file = record.file;
    out.label = record.label;
    out.second = static_cast<int32_t>(record.second);
    const size_t inputs = shape_.classifies ? row_.size() : row_.size() - 1;
    out.ids.resize(inputs);
    for (size_t i = 0; i < inputs; ++i) out.ids[i] = static_cast<int32_t>(row_[i] & ~kCountedBit);
    out.targets.clear();
    for (size_t i = 0; i < inputs && !shape_.classifies; ++i) {
      const uint32_t next = row_[i + 1];
      const bool counted = !shape_.has_mask || (next & kCountedBit) != 0;
      out.targets.push_back(counted ? static_cast<int32_t>(next & ~kCountedBit) : -1);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> targets(int64_t index) override {
    if (!shape_.has_sequences) return shape_.sequence_length;
    const std::lock_guard<std::mutex> lock(mutex_);
    SequenceRecord record;
    RETURN_IF_ERROR(read_record(index, record));
    return record.targets;
  }

  absl::StatusOr<int64_t> inputs(int64_t index) override {
    if (!shape_.has_sequences) return shape_.sequence_length;
    const std::lock_guard<std::mutex> lock(mutex_);
    SequenceRecord record;
    RETURN_IF_ERROR(read_record(index, record));
    return shape_.classifies ? record.length : record.length - 1;
  }

  absl::Status error() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (progress_ != nullptr) index_ = progress_->current();
    if (index_.error.empty()) return absl::OkStatus();
    return absl::Status(static_cast<absl::StatusCode>(index_.error_code), index_.error);
  }

  int64_t bad_rows() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return progress_ != nullptr ? progress_->current().bad_rows : index_.bad_rows;
  }

  std::vector<std::string> notes() override {
    if (progress_ != nullptr) return progress_->current().notes;
    const std::lock_guard<std::mutex> lock(mutex_);
    (void)refresh();
    return index_.notes;
  }

 private:
  int64_t sequences_of(const CacheIndex& index) const {
    if (shape_.has_sequences) return index.sequences;
    return index.tokens < 1 ? 0 : (index.tokens - 1) / shape_.sequence_length;
  }

  bool enough(const CacheIndex& index, int64_t sequences) const {
    return !index.error.empty() || has(index, sequences);
  }

  bool has(const CacheIndex& index, int64_t sequences) const {
    return index.complete || sequences_of(index) >= sequences;
  }

  // What has come can be read whatever is wrong behind it, so that all ranks end in the same step.
  absl::StatusOr<StoreProgress> state(int64_t sequences) const {
    if (!index_.error.empty() && !has(index_, sequences))
      return absl::Status(static_cast<absl::StatusCode>(index_.error_code), index_.error);
    return StoreProgress{sequences_of(index_), index_.complete, index_.tokens};
  }

  absl::Status refresh() {
    if (progress_ != nullptr) {
      index_ = progress_->current();
      return absl::OkStatus();
    }
    absl::StatusOr<CacheIndex> index = CacheIndex::read(base_);
    if (!index.ok()) {
      return absl::AbortedError(absl::StrCat("the tokens of the data cannot be read (", index.status().message(),
                                             "); the output folder must be shared by all ranks"));
    }
    index_ = *std::move(index);
    return absl::OkStatus();
  }

  absl::Status reopen() {
    ASSIGN_OR_RETURN(tokens_, open_to_read(base_ + ".tokens"));
    if (!shape_.has_sequences) return absl::OkStatus();
    ASSIGN_OR_RETURN(records_, open_to_read(base_ + ".sequences"));
    return absl::OkStatus();
  }

  absl::Status read_record(int64_t index, SequenceRecord& record) const {
    const std::string path = base_ + ".sequences";
    RETURN_IF_ERROR(
        read_at(records_.get(), path, index * static_cast<int64_t>(sizeof(record)), &record, sizeof(record)));
    // A row of a sequence holds a target behind its last input.
    const int64_t most = limits_.sequence_length + (shape_.classifies ? 0 : 1);
    const bool sound = record.length >= (shape_.classifies ? 1 : 2) && record.length <= most &&
                       record.begin <= static_cast<uint64_t>(kMostTokens) && record.second <= record.length &&
                       record.targets <= record.length && record.file < limits_.files && std::isfinite(record.label);
    if (sound) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(path, " is damaged: sequence ", index, " is none"));
  }

  absl::Status check_ids() const {
    const uint32_t ids = shape_.has_mask ? ~kCountedBit : ~uint32_t{0};
    for (const uint32_t id : row_) {
      if ((id & ids) >= limits_.vocabulary)
        return absl::DataLossError(absl::StrCat(base_, ".tokens is damaged: it holds the id ", id & ids,
                                                ", and the vocabulary has ", limits_.vocabulary));
    }
    return absl::OkStatus();
  }

  // Ids of the row into row_.
  absl::Status read_row(int64_t begin, int64_t count) {
    row_.resize(count);
    if (shape_.width == 4) {
      RETURN_IF_ERROR(read_at(tokens_.get(), base_ + ".tokens", begin * 4, row_.data(), count * 4));
    } else {
      narrow_.resize(count);
      RETURN_IF_ERROR(read_at(tokens_.get(), base_ + ".tokens", begin * 2, narrow_.data(), count * 2));
      row_.assign(narrow_.begin(), narrow_.end());
    }
    return check_ids();
  }

  absl::Status read_window(int64_t index, Sequence& out) {
    const int64_t length = shape_.sequence_length;
    RETURN_IF_ERROR(read_row(index * length, length + 1));
    out.ids.assign(row_.begin(), row_.end() - 1);
    out.targets.assign(row_.begin() + 1, row_.end());
    out.second = static_cast<int32_t>(length);
    return absl::OkStatus();
  }

  std::string base_;
  CacheLimits limits_;
  std::shared_ptr<const CacheProgress> progress_;
  CacheShape shape_;
  std::mutex mutex_;
  CacheIndex index_;
  FileDescriptor tokens_;
  FileDescriptor records_;
  std::vector<uint32_t> row_;
  std::vector<uint16_t> narrow_;
};

}  // namespace

absl::StatusOr<CacheIndex> CacheIndex::read(const std::string& base) {
  const std::string path = base + ".json";
  ASSIGN_OR_RETURN(std::string text, read_to_parse(path));
  ASSIGN_OR_RETURN(const nlohmann::json json, parse_json_object(text, path));
  JsonFields fields(json, path);
  JsonFields shape(fields.object("shape"), absl::StrCat(path, ": shape"));
  if (fields.integer("version", 0, kMostCounted) != 1 && fields.status().ok())
    return absl::DataLossError(absl::StrCat(path, " is of another version"));
  CacheIndex index;
  index.shape.width = static_cast<int>(shape.integer("width", 2, 4));
  index.shape.has_sequences = shape.boolean("sequences");
  index.shape.has_mask = shape.boolean("mask");
  index.shape.classifies = shape.boolean("classifies");
  index.shape.sequence_length = shape.integer("sequence_length", 1, kMostCounted);
  index.tokens = fields.integer("tokens", 0, kMostTokens);
  index.sequences = fields.integer("sequences", 0, kMostTokens);
  index.files_done = fields.integer("files_done", 0, kMostCounted);
  index.tokens_of_files = fields.integer("tokens_of_files", 0, kMostTokens);
  index.sequences_of_files = fields.integer("sequences_of_files", 0, kMostTokens);
  index.complete = fields.boolean("complete");
  if (fields.has("bad_rows")) index.bad_rows_of_files = fields.integer("bad_rows", 0, kMostTokens);
  index.bad_rows =
      fields.has("bad_rows_met") ? fields.integer("bad_rows_met", 0, kMostTokens) : index.bad_rows_of_files;
  index.notes = fields.texts("notes");
  index.error = fields.text("error");
  constexpr int kLastCode = static_cast<int>(absl::StatusCode::kUnauthenticated);
  index.error_code = static_cast<int>(fields.integer("error_code", index.error.empty() ? 0 : 1, kLastCode));
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(shape.status());
  const bool width = index.shape.width == 2 || index.shape.width == 4;
  if (!width || index.tokens_of_files > index.tokens || index.sequences_of_files > index.sequences)
    return absl::DataLossError(absl::StrCat(path, " is damaged: its numbers contradict each other"));
  return index;
}

absl::Status CacheIndex::write(const std::string& base) const {
  const Json json = {{"version", 1},
                     {"shape",
                      {{"width", shape.width},
                       {"sequences", shape.has_sequences},
                       {"mask", shape.has_mask},
                       {"classifies", shape.classifies},
                       {"sequence_length", shape.sequence_length}}},
                     {"tokens", tokens},
                     {"sequences", sequences},
                     {"files_done", files_done},
                     {"tokens_of_files", tokens_of_files},
                     {"sequences_of_files", sequences_of_files},
                     {"complete", complete},
                     {"bad_rows", bad_rows_of_files},
                     {"bad_rows_met", bad_rows},
                     {"notes", notes},
                     {"error", error},
                     {"error_code", error_code}};
  return write_file_atomically(base + ".json", json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void CacheProgress::publish(const CacheIndex& index) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    index_ = index;
  }
  changed_.notify_all();
}

CacheIndex CacheProgress::current() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return index_;
}

absl::StatusOr<std::unique_ptr<SequenceStore>> open_token_cache(const std::string& base, const CacheLimits& limits,
                                                                std::shared_ptr<const CacheProgress> progress) {
  auto store = std::make_unique<TokenCacheStore>(base, limits, std::move(progress));
  RETURN_IF_ERROR(store->open());
  return store;
}

}  // namespace galleon
