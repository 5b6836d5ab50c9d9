#include "worker/engine/data/cache_builder.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr absl::Duration kFlushInterval = absl::Seconds(1);
// Pieces under way for each encoding thread.
constexpr size_t kSlotsOfThread = 4;
// And bytes of them. A row may be 64 MiB, and takes several times that while it is encoded: then one at a time.
constexpr size_t kMostWaiting = size_t{64} << 20;

absl::Status write_at(int fd, const std::string& path, int64_t offset, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(fd, data.data(), data.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("cannot write", path, errno);
    offset += n;
    data.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

}  // namespace

void run_in_background() {
  // Linux keeps the value for each thread. A machine that refuses lets the thread run as the others do.
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
}

absl::StatusOr<std::unique_ptr<CacheBuilder>> CacheBuilder::start(CacheBuild build) {
  std::unique_ptr<CacheBuilder> builder(new CacheBuilder(std::move(build)));
  RETURN_IF_ERROR(builder->open_files());
  if (builder->index_.complete) return builder;
  CacheBuilder* self = builder.get();
  builder->threads_.emplace_back([self] { self->read(); });
  for (int i = 0; i < std::max(1, builder->build_.threads); ++i)
    builder->threads_.emplace_back([self] { self->encode(); });
  builder->threads_.emplace_back([self] { self->write(); });
  return builder;
}

CacheBuilder::~CacheBuilder() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status CacheBuilder::open_files() {
  absl::StatusOr<CacheIndex> before = CacheIndex::read(build_.base);
  if (before.ok() && before->shape == build_.shape && before->files_done <= static_cast<int64_t>(build_.files.size())) {
    index_ = *std::move(before);
    if (index_.complete) {
      progress_->publish(index_);
      return absl::OkStatus();
    }
    index_.tokens = index_.tokens_of_files;
    index_.sequences = index_.sequences_of_files;
    index_.bad_rows = index_.bad_rows_of_files;
  }
  index_.shape = build_.shape;
  index_.error.clear();
  index_.error_code = 0;
  ASSIGN_OR_RETURN(tokens_, open_to_write(build_.base + ".tokens", O_WRONLY | O_CREAT));
  if (build_.shape.has_sequences) {
    ASSIGN_OR_RETURN(records_, open_to_write(build_.base + ".sequences", O_WRONLY | O_CREAT));
  }
  last_flush_ = absl::Now();
  progress_->publish(index_);
  return index_.write(build_.base);
}

void CacheBuilder::read() {
  run_in_background();
  PieceReader reader(build_.files, static_cast<size_t>(index_.files_done), build_.pieces);
  const size_t capacity = kSlotsOfThread * static_cast<size_t>(std::max(1, build_.threads));
  while (true) {
    absl::StatusOr<std::optional<InputPiece>> piece = reader.next();
    std::unique_lock<std::mutex> lock(mutex_);
    if (!piece.ok() || !piece->has_value()) {
      read_status_ = piece.status();
      read_all_ = true;
      changed_.notify_all();
      return;
    }
    const size_t bytes = (*piece)->text.size();
    changed_.wait(lock, [&] {
      return stopping_ || slots_.empty() || (slots_.size() < capacity && waiting_bytes_ + bytes <= kMostWaiting);
    });
    if (stopping_) return;
    auto slot = std::make_shared<Slot>();
    slot->piece = **std::move(piece);
    slot->bytes = bytes;
    waiting_bytes_ += bytes;
    slots_.push_back(std::move(slot));
    changed_.notify_all();
  }
}

void CacheBuilder::encode() {
  run_in_background();
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    std::shared_ptr<Slot> slot;
    changed_.wait(lock, [&] {
      const auto open = std::find_if(slots_.begin(), slots_.end(), [](const auto& s) { return !s->taken; });
      if (open != slots_.end()) slot = *open;
      return stopping_ || read_all_ || slot != nullptr;
    });
    if (stopping_ || slot == nullptr) return;
    slot->taken = true;
    lock.unlock();
    slot->encoded = build_.encoder->encode(slot->piece, build_.files[slot->piece.file].path);
    file_bytes_.fetch_add(slot->piece.file_bytes, std::memory_order_relaxed);
    text_bytes_.fetch_add(static_cast<int64_t>(slot->piece.text.size()), std::memory_order_relaxed);
    lock.lock();
    slot->done = true;
    changed_.notify_all();
  }
}

// Waits for the next piece in the order of the input. False: the builder is stopping. Without a piece all have been
// read, or the time has come to flush.
bool CacheBuilder::next_encoded(std::shared_ptr<Slot>& slot, bool& ended) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto something = [&] {
    return stopping_ || (slots_.empty() && read_all_) || (!slots_.empty() && slots_.front()->done);
  };
  // Other ranks see what the index file says: the newest pieces must not wait there for the next one.
  if (unflushed_) {
    const absl::Duration rest = last_flush_ + kFlushInterval - absl::Now();
    if (!changed_.wait_for(lock, absl::ToChronoMilliseconds(std::max(rest, absl::ZeroDuration())), something))
      return true;
  } else {
    changed_.wait(lock, something);
  }
  if (stopping_) return false;
  ended = slots_.empty();
  if (ended) return true;
  slot = slots_.front();
  slots_.pop_front();
  waiting_bytes_ -= slot->bytes;
  changed_.notify_all();
  return true;
}

void CacheBuilder::write() {
  run_in_background();
  while (true) {
    std::shared_ptr<Slot> slot;
    bool ended = false;
    if (!next_encoded(slot, ended)) return;
    absl::Status status;
    if (ended) {
      status = read_status_;
      if (status.ok()) status = flush(true);
      if (!status.ok()) fail(status);
      return;
    }
    if (slot != nullptr) status = slot->encoded.status();
    if (status.ok() && slot != nullptr) status = append(*slot);
    if (status.ok() && slot != nullptr && slot->piece.ends_file) status = end_file(*slot);
    if (status.ok()) status = flush(false);
    if (!status.ok()) {
      fail(status);
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
      return;
    }
  }
}

// What a user should know of the file that the piece belongs to.
absl::Status CacheBuilder::count(const Slot& slot) {
  const EncodedPiece& made = *slot.encoded;
  documents_of_file_ += made.documents;
  if (made.left_out.count > 0) {
    if (left_out_.count == 0)
      left_out_ = made.left_out;
    else
      left_out_.count += made.left_out.count;
  }
  cut_ += made.cut;
  if (broken_ == 0) first_broken_ = slot.piece.first_broken;
  broken_ += slot.piece.broken;
  bad_rows_of_file_.add(made.bad_rows);
  index_.bad_rows = index_.bad_rows_of_files + bad_rows_of_file_.count;
  if (index_.bad_rows <= build_.max_bad_rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(index_.bad_rows, " bad rows are more than data.max_bad_rows ",
                                                 build_.max_bad_rows, "; among them ",
                                                 absl::StrJoin(bad_rows_of_file_.first, "; ")));
}

void CacheBuilder::note(const std::string& text) {
  index_.notes.push_back(absl::StrCat(build_.key, ": ", text));
  log_warning(index_.notes.back());
}

absl::Status CacheBuilder::append(const Slot& slot) {
  const EncodedPiece& made = *slot.encoded;
  RETURN_IF_ERROR(count(slot));
  absl::string_view bytes(reinterpret_cast<const char*>(made.tokens.data()), made.tokens.size() * 4);
  if (build_.shape.width == 2) {
    packed_.resize(made.tokens.size() * 2);
    for (size_t i = 0; i < made.tokens.size(); ++i) {
      const auto id = static_cast<uint16_t>(made.tokens[i]);
      std::memcpy(packed_.data() + 2 * i, &id, 2);
    }
    bytes = packed_;
  }
  RETURN_IF_ERROR(write_at(tokens_.get(), build_.base + ".tokens", index_.tokens * build_.shape.width, bytes));
  if (build_.shape.has_sequences) {
    std::vector<SequenceRecord> records = made.sequences;
    for (SequenceRecord& record : records) record.begin += static_cast<uint64_t>(index_.tokens);
    constexpr auto size = static_cast<int64_t>(sizeof(SequenceRecord));
    RETURN_IF_ERROR(write_at(records_.get(), build_.base + ".sequences", index_.sequences * size,
                             {reinterpret_cast<const char*>(records.data()), records.size() * sizeof(records[0])}));
    index_.sequences += static_cast<int64_t>(records.size());
  }
  index_.tokens += static_cast<int64_t>(made.tokens.size());
  unflushed_ = true;
  progress_->publish(index_);
  return absl::OkStatus();
}

absl::Status CacheBuilder::end_file(const Slot& slot) {
  const std::string& path = build_.files[slot.piece.file].path;
  if (documents_of_file_ == 0) note(absl::StrCat("there is nothing in ", path, "; it is left out"));
  if (left_out_.count > 0) {
    note(absl::StrCat(left_out_.count, left_out_.count == 1 ? " input" : " inputs", " left out, the first at ",
                      left_out_.first, ", which ", left_out_.reason));
  }
  if (bad_rows_of_file_.count > 0) {
    note(absl::StrCat(bad_rows_of_file_.count, bad_rows_of_file_.count == 1 ? " bad row" : " bad rows",
                      " skipped (data.bad_rows): ", absl::StrJoin(bad_rows_of_file_.first, "; ")));
  }
  if (cut_ > 0) {
    note(absl::StrCat(path, ": ", cut_, " of ", documents_of_file_, " rows are longer than data.sequence_length ",
                      build_.shape.sequence_length, "; what is beyond it is cut off"));
  }
  if (broken_ > 0) {
    note(absl::StrCat(path, ": ", broken_, broken_ == 1 ? " character is" : " characters are",
                      " no UTF-8, the first at byte ", first_broken_, "; U+FFFD stands for it"));
  }
  index_.bad_rows_of_files = index_.bad_rows;
  bad_rows_of_file_ = {};
  documents_of_file_ = cut_ = broken_ = 0;
  left_out_ = {};
  index_.files_done = static_cast<int64_t>(slot.piece.file) + 1;
  index_.tokens_of_files = index_.tokens;
  index_.sequences_of_files = index_.sequences;
  return absl::OkStatus();
}

// The index promises what is in the files, also after a power cut.
absl::Status CacheBuilder::flush(bool last) {
  if (!last && absl::Now() < last_flush_ + kFlushInterval) return absl::OkStatus();
  index_.complete = last;
  if (::fdatasync(tokens_.get()) != 0) return errno_status("cannot flush", build_.base + ".tokens", errno);
  if (records_.valid() && ::fdatasync(records_.get()) != 0)
    return errno_status("cannot flush", build_.base + ".sequences", errno);
  RETURN_IF_ERROR(index_.write(build_.base));
  last_flush_ = absl::Now();
  unflushed_ = false;
  progress_->publish(index_);
  return absl::OkStatus();
}

void CacheBuilder::fail(const absl::Status& status) {
  CacheIndex failed = index_;
  failed.error = absl::StrCat(build_.key, ": ", status.message());
  failed.error_code = static_cast<int>(status.code());
  (void)failed.write(build_.base);
  progress_->publish(failed);
}

}  // namespace galleon
