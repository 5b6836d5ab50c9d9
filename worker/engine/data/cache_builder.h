// Makes a token cache in background threads: one reads and unpacks files in order, several encode pieces of them, one
// writes what they made in the order of the input. What is under way is bounded by a number of pieces.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/files.h"
#include "worker/engine/data/input_encoder.h"
#include "worker/engine/data/token_cache.h"

namespace galleon {

struct CacheBuild {
  std::string base;  // NAME of NAME.tokens, NAME.sequences, NAME.json; its folder exists
  std::string key;   // of the job file, in errors: "data.train"
  std::vector<InputFile> files;
  PieceOptions pieces;
  std::shared_ptr<const InputEncoder> encoder;
  CacheShape shape;
  int64_t max_bad_rows = 1000;  // with pieces.skip_bad_rows
  int threads = 1;              // that encode
};

class CacheBuilder {
 public:
  // Goes on with the cache of this name, if there is one, and returns at once; nothing is done for one that is
  // complete.
  static absl::StatusOr<std::unique_ptr<CacheBuilder>> start(CacheBuild build);
  // Ends the threads where they are.
  ~CacheBuilder();
  CacheBuilder(const CacheBuilder&) = delete;
  CacheBuilder& operator=(const CacheBuilder&) = delete;

  std::shared_ptr<const CacheProgress> progress() const { return progress_; }
  // Of the input that was encoded since the start: bytes as they lie on the disk, and unpacked.
  int64_t file_bytes() const { return file_bytes_.load(std::memory_order_relaxed); }
  int64_t text_bytes() const { return text_bytes_.load(std::memory_order_relaxed); }

 private:
  struct Slot {
    InputPiece piece;
    absl::StatusOr<EncodedPiece> encoded = absl::UnknownError("");
    size_t bytes = 0;  // of the piece, as it was read
    bool taken = false;
    bool done = false;
  };

  explicit CacheBuilder(CacheBuild build) : build_(std::move(build)) {}
  absl::Status open_files();
  void read();
  void encode();
  bool next_encoded(std::shared_ptr<Slot>& slot, bool& ended);
  void write();
  absl::Status append(const Slot& slot);
  absl::Status count(const Slot& slot);
  absl::Status end_file(const Slot& slot);
  void note(const std::string& text);
  absl::Status flush(bool last);
  void fail(const absl::Status& status);

  CacheBuild build_;
  std::shared_ptr<CacheProgress> progress_ = std::make_shared<CacheProgress>();
  FileDescriptor tokens_;
  FileDescriptor records_;
  CacheIndex index_;        // as written so far; the writer's alone
  absl::Time last_flush_;   // of the index to its file
  bool unflushed_ = false;  // whether pieces have been written since
  std::string packed_;      // the writer's buffer
  int64_t documents_of_file_ = 0;
  LeftOut left_out_;
  int64_t cut_ = 0;
  int64_t broken_ = 0;
  int64_t first_broken_ = 0;
  BadRows bad_rows_of_file_;
  std::atomic<int64_t> file_bytes_{0};
  std::atomic<int64_t> text_bytes_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Slot>> slots_;  // in the order of the input
  size_t waiting_bytes_ = 0;                 // of their pieces
  absl::Status read_status_;
  bool read_all_ = false;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// Lowers the calling thread's share of the processor, so that work in the background does not slow what waits for it.
void run_in_background();

}  // namespace galleon
