#include "worker/engine/data/token_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;

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
  TokenCacheStore(std::string base, std::shared_ptr<const CacheProgress> progress)
      : base_(std::move(base)), progress_(std::move(progress)) {}

  absl::Status open() {
    RETURN_IF_ERROR(refresh());
    shape_ = index_.shape;
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
    tokens_ = FileDescriptor(::open((base_ + ".tokens").c_str(), O_RDONLY | O_CLOEXEC));
    if (!tokens_.valid()) return errno_status("cannot open", base_ + ".tokens", errno);
    if (!shape_.has_sequences) return absl::OkStatus();
    records_ = FileDescriptor(::open((base_ + ".sequences").c_str(), O_RDONLY | O_CLOEXEC));
    if (!records_.valid()) return errno_status("cannot open", base_ + ".sequences", errno);
    return absl::OkStatus();
  }

  absl::Status read_record(int64_t index, SequenceRecord& record) const {
    return read_at(records_.get(), base_ + ".sequences", index * static_cast<int64_t>(sizeof(record)), &record,
                   sizeof(record));
  }

  // Ids of the row into row_.
  absl::Status read_row(int64_t begin, int64_t count) {
    row_.resize(count);
    if (shape_.width == 4) return read_at(tokens_.get(), base_ + ".tokens", begin * 4, row_.data(), count * 4);
    narrow_.resize(count);
    RETURN_IF_ERROR(read_at(tokens_.get(), base_ + ".tokens", begin * 2, narrow_.data(), count * 2));
    row_.assign(narrow_.begin(), narrow_.end());
    return absl::OkStatus();
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
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  CacheIndex index;
  try {
    const Json json = Json::parse(text);
    if (json.at("version").get<int>() != 1) return absl::DataLossError(absl::StrCat(path, " is of another version"));
    const Json& shape = json.at("shape");
    index.shape.width = shape.at("width").get<int>();
    index.shape.has_sequences = shape.at("sequences").get<bool>();
    index.shape.has_mask = shape.at("mask").get<bool>();
    index.shape.classifies = shape.at("classifies").get<bool>();
    index.shape.sequence_length = shape.at("sequence_length").get<int64_t>();
    index.tokens = json.at("tokens").get<int64_t>();
    index.sequences = json.at("sequences").get<int64_t>();
    index.files_done = json.at("files_done").get<int64_t>();
    index.tokens_of_files = json.at("tokens_of_files").get<int64_t>();
    index.sequences_of_files = json.at("sequences_of_files").get<int64_t>();
    index.complete = json.at("complete").get<bool>();
    index.bad_rows_of_files = json.value("bad_rows", int64_t{0});
    index.bad_rows = json.value("bad_rows_met", index.bad_rows_of_files);
    index.notes = json.at("notes").get<std::vector<std::string>>();
    index.error = json.at("error").get<std::string>();
    index.error_code = json.at("error_code").get<int>();
  } catch (const Json::exception& e) {
    return absl::DataLossError(absl::StrCat(path, " is damaged: ", e.what()));
  }
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

absl::StatusOr<std::unique_ptr<SequenceStore>> open_token_cache(const std::string& base,
                                                                std::shared_ptr<const CacheProgress> progress) {
  auto store = std::make_unique<TokenCacheStore>(base, std::move(progress));
  RETURN_IF_ERROR(store->open());
  return store;
}

}  // namespace galleon
