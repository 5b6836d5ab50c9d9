#include "server/api/metric_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "server/api/metric_series.h"

namespace galleon::server {

namespace {

constexpr int kMostWaiting = 64;
constexpr size_t kPiece = 1 << 20;
constexpr off_t kLargestFile = off_t{512} << 20;
constexpr size_t kMostCached = 64 << 20;  // of all files' series

}  // namespace

class MetricFiles::Cache {
 public:
  absl::StatusOr<v1::ReadMetricsResponse> read(const std::string& path, const v1::ReadMetricsRequest& request) {
    // Whoever may write the folder must not make the scheduler read, or wait for, something else.
    const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file.valid()) {
      if (errno == ENOENT) return v1::ReadMetricsResponse();
      if (errno == ELOOP) return not_plain(path);
      return errno_status("cannot open", path, errno);
    }
    struct stat info {};
    if (::fstat(file.get(), &info) != 0) return errno_status("cannot look at", path, errno);
    if (!S_ISREG(info.st_mode)) return not_plain(path);
    if (info.st_size > kLargestFile) {
      return absl::ResourceExhaustedError(absl::StrCat("metrics.jsonl has ", info.st_size >> 20, " MiB, more than the ",
                                                       kLargestFile >> 20, " that are read"));
    }
    Entry& entry = entry_of(path);
    // A job that resumes writes the file anew.
    if (entry.device != info.st_dev || entry.inode != info.st_ino || info.st_size < entry.offset)
      entry = Entry{path, info.st_dev, info.st_ino, 0, MetricSeries()};
    RETURN_IF_ERROR(catch_up(file.get(), path, entry));
    v1::ReadMetricsResponse response = entry.series.read(request);
    forget_oldest();
    return response;
  }

 private:
  struct Entry {
    std::string path;
    dev_t device = 0;
    ino_t inode = 0;
    off_t offset = 0;
    MetricSeries series;
  };

  static absl::Status not_plain(const std::string& path) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a plain file"));
  }

  // The newest is in front.
  Entry& entry_of(const std::string& path) {
    const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.path == path; });
    if (it == entries_.end()) {
      entries_.emplace_front().path = path;
    } else {
      entries_.splice(entries_.begin(), entries_, it);
    }
    return entries_.front();
  }

  static absl::Status catch_up(int file, const std::string& path, Entry& entry) {
    std::string text;
    off_t at = entry.offset;
    while (true) {
      const size_t kept = text.size();
      text.resize(kept + kPiece);
      const ssize_t n = ::pread(file, text.data() + kept, kPiece, at);
      if (n < 0) return errno_status("cannot read", path, errno);
      text.resize(kept + static_cast<size_t>(n));
      if (n == 0) return absl::OkStatus();
      at += n;
      const size_t taken = entry.series.add(text);
      entry.offset += static_cast<off_t>(taken);
      text.erase(0, taken);
      if (text.size() > kPiece) return absl::DataLossError(absl::StrCat(path, " has a line of more than 1 MiB"));
    }
  }

  void forget_oldest() {
    size_t bytes = 0;
    for (const Entry& entry : entries_) bytes += entry.series.bytes();
    while (entries_.size() > 1 && bytes > kMostCached) {
      bytes -= entries_.back().series.bytes();
      entries_.pop_back();
    }
    while (entries_.size() > 1000) entries_.pop_back();
  }

  std::list<Entry> entries_;
};

MetricFiles::MetricFiles(std::string root)
    : cache_(std::make_shared<Cache>()),
      waiting_(std::make_shared<std::atomic<int>>(0)),
      thread_(std::move(root), [](const std::string&) { return absl::OkStatus(); }) {}

void MetricFiles::read(const std::string& folder, const v1::ReadMetricsRequest& request, Done done) {
  if (waiting_->fetch_add(1) >= kMostWaiting) {
    waiting_->fetch_sub(1);
    return done(absl::UnavailableError("the file system of the jobs' folders does not answer; try again later"));
  }
  auto answer = std::make_shared<absl::StatusOr<v1::ReadMetricsResponse>>();
  thread_.perform(
      [cache = cache_, waiting = waiting_, path = folder + "/metrics.jsonl", request, answer] {
        *answer = cache->read(path, request);
        waiting->fetch_sub(1);
        return absl::OkStatus();
      },
      [answer, done = std::move(done)](const absl::Status&) { done(std::move(*answer)); });
}

}  // namespace galleon::server
