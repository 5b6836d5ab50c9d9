#include "worker/engine/data/mapped_tokens.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

class Mapping {
 public:
  Mapping(const char* data, size_t size) : data_(data), size_(size) {}
  Mapping(Mapping&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
  }
  const char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const char* data_;
  size_t size_;
};

absl::StatusOr<Mapping> map_file(const std::string& path) {
  ASSIGN_OR_RETURN(const FileDescriptor file, open_to_read(path));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return errno_status("cannot read", path, errno);
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return Mapping(nullptr, 0);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) return errno_status("cannot map", path, errno);
  return Mapping(static_cast<const char*>(data), size);
}

class MappedTokens final : public SequenceStore {
 public:
  MappedTokens(int64_t vocabulary, int64_t sequence_length)
      : vocabulary_(vocabulary), length_(sequence_length), width_(vocabulary > 65536 ? 4 : 2) {}

  absl::Status add(const std::string& path) {
    ASSIGN_OR_RETURN(Mapping mapping, map_file(path));
    if (mapping.size() % width_ != 0) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", mapping.size(), " bytes is not a whole number of ",
                                                     width_ * 8, "-bit ids, which a vocabulary of ", vocabulary_,
                                                     " has", hint_of_other_width(vocabulary_)));
    }
    const auto count = static_cast<int64_t>(mapping.size() / width_);
    if (count == 0) notes_.push_back(absl::StrCat("there is nothing in ", path, "; it is left out"));
    files_.push_back({path, std::move(mapping), tokens_, count});
    tokens_ += count;
    return absl::OkStatus();
  }

  int64_t bytes() const { return tokens_ * width_; }

  absl::Status check_all() const {
    std::vector<int32_t> ids(1 << 16);
    for (int64_t at = 0; at < tokens_; at += static_cast<int64_t>(ids.size())) {
      const int64_t count = std::min<int64_t>(static_cast<int64_t>(ids.size()), tokens_ - at);
      RETURN_IF_ERROR(copy(at, count, ids.data()));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<StoreProgress> wait_for(int64_t, absl::Duration) override {
    return StoreProgress{tokens_ < 1 ? 0 : (tokens_ - 1) / length_, true, tokens_};
  }

  absl::Status read(int64_t index, Sequence& out) override {
    row_.resize(length_ + 1);
    RETURN_IF_ERROR(copy(index * length_, length_ + 1, row_.data()));
    out.ids.assign(row_.begin(), row_.end() - 1);
    out.targets.assign(row_.begin() + 1, row_.end());
    out.second = static_cast<int32_t>(length_);
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> targets(int64_t) override { return length_; }
  absl::StatusOr<int64_t> inputs(int64_t) override { return length_; }
  std::vector<std::string> notes() override { return notes_; }

 private:
  struct File {
    std::string path;
    Mapping content;
    int64_t begin;  // of its ids in the row
    int64_t count;
  };

  absl::Status copy(int64_t begin, int64_t count, int32_t* out) const {
    auto file = std::upper_bound(files_.begin(), files_.end(), begin,
                                 [](int64_t place, const File& f) { return place < f.begin; });
    for (--file; count > 0; ++file) {
      const int64_t first = begin - file->begin;
      const int64_t here = std::min(count, file->count - first);
      const char* bytes = file->content.data() + first * width_;
      uint32_t highest = 0;
      for (int64_t i = 0; i < here; ++i) {
        uint32_t id = 0;
        std::memcpy(&id, bytes + i * width_, static_cast<size_t>(width_));
        highest = std::max(highest, id);
        out[i] = static_cast<int32_t>(id);
      }
      if (highest >= vocabulary_) return bad_id(*file, first, here, out);
      out += here;
      begin += here;
      count -= here;
    }
    return absl::OkStatus();
  }

  absl::Status bad_id(const File& file, int64_t first, int64_t count, const int32_t* ids) const {
    int64_t i = 0;
    while (i + 1 < count && static_cast<uint32_t>(ids[i]) < vocabulary_) ++i;
    return absl::InvalidArgumentError(absl::StrCat(file.path, ": id ", static_cast<uint32_t>(ids[i]), " at position ",
                                                   first + i, " does not fit the vocabulary of ", vocabulary_,
                                                   first + i < 16 ? hint_of_other_width(vocabulary_) : ""));
  }

  int64_t vocabulary_;
  int64_t length_;
  int64_t width_;
  std::vector<File> files_;
  int64_t tokens_ = 0;
  std::vector<std::string> notes_;
  std::vector<int32_t> row_;
};

}  // namespace

const char* hint_of_other_width(int64_t vocabulary) {
  return vocabulary > 65536 ? "; it may hold 16-bit ids, those of a vocabulary of up to 65,536: tokenize it again" : "";
}

absl::StatusOr<std::unique_ptr<SequenceStore>> map_token_files(const std::vector<std::string>& paths,
                                                               int64_t vocabulary, int64_t sequence_length,
                                                               int64_t checked_bytes) {
  auto store = std::make_unique<MappedTokens>(vocabulary, sequence_length);
  for (const std::string& path : paths) {
    RETURN_IF_ERROR(store->add(path));
  }
  if (store->bytes() < checked_bytes) {
    RETURN_IF_ERROR(store->check_all());
  }
  return store;
}

}  // namespace galleon
