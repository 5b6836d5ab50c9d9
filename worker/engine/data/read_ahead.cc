#include "worker/engine/data/read_ahead.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "common/base/status_macros.h"

namespace galleon {

namespace {

struct Piece {
  absl::StatusOr<std::string> bytes;  // empty: the end
  int64_t position = 0;               // of the stream behind it
};

class ReadAhead final : public InputStream {
 public:
  ReadAhead(std::unique_ptr<InputStream> stream, size_t piece_bytes, size_t pieces, int64_t bytes_before)
      : stream_(std::move(stream)), piece_bytes_(piece_bytes), most_(pieces), before_(bytes_before) {}

  ~ReadAhead() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  absl::StatusOr<size_t> read(char* out, size_t size) override {
    if (before_ > 0) {
      ASSIGN_OR_RETURN(size_t n, stream_->read(out, std::min<size_t>(size, static_cast<size_t>(before_))));
      before_ -= static_cast<int64_t>(n);
      position_ = stream_->position();
      return n;
    }
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    if (taken_ == current_.size()) RETURN_IF_ERROR(take_next());
    const size_t n = std::min(size, current_.size() - taken_);
    if (n > 0) std::memcpy(out, current_.data() + taken_, n);
    taken_ += n;
    return n;
  }

  int64_t position() const override { return position_; }

 private:
  absl::Status take_next() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return !ready_.empty(); });
    // The end and an error stay, for whoever asks again.
    if (!ready_.front().bytes.ok()) return ready_.front().bytes.status();
    taken_ = 0;
    position_ = ready_.front().position;
    if (ready_.front().bytes->empty()) {
      current_.clear();
      return absl::OkStatus();
    }
    current_ = *std::move(ready_.front().bytes);
    ready_.pop_front();
    lock.unlock();
    changed_.notify_all();
    return absl::OkStatus();
  }

  Piece read_piece() {
    Piece piece{std::string(piece_bytes_, '\0'), 0};
    size_t known = 0;
    while (known < piece_bytes_) {
      absl::StatusOr<size_t> n = stream_->read(piece.bytes->data() + known, piece_bytes_ - known);
      if (!n.ok()) return {n.status(), stream_->position()};
      if (*n == 0) break;
      known += *n;
    }
    piece.bytes->resize(known);
    piece.position = stream_->position();
    return piece;
  }

  void run() {
    while (true) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return ended_ || ready_.size() < most_; });
        if (ended_) return;
      }
      Piece piece = read_piece();
      const bool last = !piece.bytes.ok() || piece.bytes->empty();
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        ready_.push_back(std::move(piece));
      }
      changed_.notify_all();
      if (last) return;
    }
  }

  std::unique_ptr<InputStream> stream_;
  const size_t piece_bytes_;
  const size_t most_;
  int64_t before_;
  int64_t position_ = 0;
  std::string current_;
  size_t taken_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> ready_;
  bool ended_ = false;  // nobody takes any more
  std::thread thread_;
};

}  // namespace

std::unique_ptr<InputStream> read_ahead(std::unique_ptr<InputStream> stream, size_t piece_bytes, size_t pieces,
                                        int64_t bytes_before) {
  return std::make_unique<ReadAhead>(std::move(stream), piece_bytes, pieces, bytes_before);
}

}  // namespace galleon
