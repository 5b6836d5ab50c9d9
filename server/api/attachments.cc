#include "server/api/attachments.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"
#include "common/net/certificates.h"
#include "server/api/folder_removal.h"

namespace galleon::server {

namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kScheme = "attached:";
constexpr size_t kLargestPiece = 384 << 10;
constexpr size_t kLongestName = 128;
constexpr size_t kMostWaiting = 256;
constexpr std::chrono::hours kPatience{24};
// Trainers may run as another user; what is above them keeps others out.
constexpr mode_t kFileMode = 0644;

bool plain_word(absl::string_view word) {
  return !word.empty() && word.front() != '.' && std::all_of(word.begin(), word.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
}

absl::Status check_name(const std::string& name) {
  const std::vector<std::string> words = absl::StrSplit(name, '/');
  if (name.size() <= kLongestName && words.size() <= 2 && std::all_of(words.begin(), words.end(), plain_word))
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("attached: \"", name.substr(0, kLongestName),
                   "\" is no name; NAME or FOLDER/NAME of letters, digits, '.', '-' and '_' is accepted"));
}

std::vector<std::string*> paths_of(v1::Job& job) {
  std::vector<std::string*> paths;
  if (job.has_tokenizer()) paths.push_back(job.mutable_tokenizer());
  if (job.has_model()) paths.push_back(job.mutable_model()->mutable_source());
  if (job.data().has_chat_template()) paths.push_back(job.mutable_data()->mutable_chat_template());
  return paths;
}

bool was_sent(const v1::Job& job, absl::string_view name) {
  return std::any_of(job.attached().begin(), job.attached().end(), [&name](const v1::AttachedFile& file) {
    return file.name() == name || absl::StartsWith(file.name(), absl::StrCat(name, "/"));
  });
}

struct Sum {
  uint64_t bytes = 0;
  int files = 0;
};

// Of what waits for one job, but for one file.
Sum sum_without(const std::string& folder, const std::string& path) {
  Sum sum;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored) || it->path() == path) continue;
    sum.bytes += it->file_size(ignored);
    ++sum.files;
  }
  return sum;
}

absl::Status make_room(const std::string& waiting, const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder, error)) return absl::OkStatus();
  const auto count = static_cast<size_t>(std::distance(fs::directory_iterator(waiting, error), {}));
  if (!error && count >= kMostWaiting) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "files wait for ", count, " jobs that were not submitted; they are removed after a day, submit again later"));
  }
  return make_folders(folder);
}

absl::StatusOr<uint64_t> write_piece(const std::string& waiting, const std::string& folder,
                                     const v1::AttachFileRequest& request) {
  const std::string path = absl::StrCat(folder, "/", request.name());
  RETURN_IF_ERROR(make_folders(waiting));
  RETURN_IF_ERROR(make_room(waiting, folder));
  RETURN_IF_ERROR(make_folders(fs::path(path).parent_path().string()));
  const uint64_t end = request.offset() + request.data().size();
  const Sum others = sum_without(folder, path);
  if (others.bytes + end > kMostAttachedBytes || others.files >= kMostAttachedFiles) {
    return absl::ResourceExhaustedError(absl::StrCat("at most ", kMostAttachedFiles, " files and ",
                                                     kMostAttachedBytes >> 20, " MiB are taken with a job"));
  }
  const int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | (request.offset() == 0 ? O_TRUNC : 0);
  const FileDescriptor file(::open(path.c_str(), flags, kFileMode));
  struct stat info {};
  if (!file.valid() || ::fstat(file.get(), &info) != 0) return errno_status("cannot write", path, errno);
  if (static_cast<uint64_t>(info.st_size) < request.offset()) {
    return absl::InvalidArgumentError(
        absl::StrCat("offset: ", request.offset(), " lies behind the ", info.st_size, " bytes that are there"));
  }
  size_t done = 0;
  while (done < request.data().size()) {
    const ssize_t wrote = ::pwrite(file.get(), request.data().data() + done, request.data().size() - done,
                                   static_cast<off_t>(request.offset() + done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return errno_status("cannot write", path, errno);
    done += static_cast<size_t>(wrote);
  }
  if (::fchmod(file.get(), kFileMode) != 0 || ::fdatasync(file.get()) != 0)
    return errno_status("cannot write", path, errno);
  return std::max<uint64_t>(end, static_cast<uint64_t>(info.st_size));
}

absl::Status check_there(const std::string& folder, const v1::Job& job) {
  for (const v1::AttachedFile& file : job.attached()) {
    const std::string path = absl::StrCat(folder, "/", file.name());
    std::error_code error;
    const auto bytes = fs::file_size(path, error);
    const absl::StatusOr<std::string> content =
        error || bytes != file.bytes() ? absl::StatusOr<std::string>(absl::NotFoundError("")) : read_file(path);
    if (content.ok() && sha256_hex(*content) == file.sha256()) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("attached: ", file.name(), " has not come whole; submit the job again"));
  }
  return absl::OkStatus();
}

absl::Status move_over(const std::string& from, const std::string& job_folder) {
  std::error_code error;
  if (!fs::exists(from, error)) return absl::OkStatus();
  RETURN_IF_ERROR(make_folders(job_folder));
  const std::string to = attached_folder_of(job_folder);
  if (std::rename(from.c_str(), to.c_str()) != 0) return errno_status("cannot move attached files to", to, errno);
  return absl::OkStatus();
}

void remove_old(const std::string& waiting) {
  std::error_code error;
  std::vector<std::string> old;
  for (fs::directory_iterator it(waiting, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    const auto written = fs::last_write_time(it->path(), ignored);
    if (!ignored && written < fs::file_time_type::clock::now() - kPatience)
      old.push_back(it->path().filename().string());
  }
  for (const std::string& name : old) {
    if (const absl::Status removed = remove_below(waiting, name, ""); !removed.ok())
      log_warning("files that no job came for stay in ", waiting, "/", name, ": ", removed.message());
  }
}

}  // namespace

absl::Status check_attached(const v1::Job& job) {
  uint64_t bytes = 0;
  for (const v1::AttachedFile& file : job.attached()) {
    RETURN_IF_ERROR(check_name(file.name()));
    if (file.bytes() > kMostAttachedBytes) bytes = kMostAttachedBytes;
    bytes += file.bytes();
  }
  if (bytes > kMostAttachedBytes || job.attached_size() > kMostAttachedFiles) {
    return absl::InvalidArgumentError(absl::StrCat("attached: at most ", kMostAttachedFiles, " files and ",
                                                   kMostAttachedBytes >> 20, " MiB are taken with a job"));
  }
  v1::Job copy = job;
  for (const std::string* path : paths_of(copy)) {
    if (absl::StartsWith(*path, kScheme) && !was_sent(job, path->substr(kScheme.size())))
      return absl::InvalidArgumentError(absl::StrCat("attached: no such file was sent with the job: ", *path));
  }
  return absl::OkStatus();
}

v1::Job with_attached_below(v1::Job job, absl::string_view folder) {
  for (std::string* path : paths_of(job)) {
    if (absl::StartsWith(*path, kScheme)) *path = absl::StrCat(folder, "/", path->substr(kScheme.size()));
  }
  return job;
}

std::string attached_folder_of(absl::string_view job_folder) {
  return absl::StrCat(job_folder, "/attached");
}

// The calls that wait for the file system.
struct Attachments::Open {
  std::mutex mutex;
  std::map<uint64_t, Taken> calls;
  uint64_t next = 0;
  bool stopping = false;

  Taken remove(uint64_t call) {
    const std::lock_guard<std::mutex> lock(mutex);
    auto node = calls.extract(call);
    return node.empty() ? Taken() : std::move(node.mapped());
  }
};

Attachments::Attachments(std::string jobs_folder, JobFolders* folders)
    : waiting_(std::move(jobs_folder) + "/.attached"), folders_(folders), open_(std::make_shared<Open>()) {}

std::string Attachments::waiting_folder(absl::string_view caller, absl::string_view request_id) const {
  return absl::StrCat(waiting_, "/", sha256_hex(absl::StrCat(caller.size(), ":", caller, request_id)));
}

void Attachments::post(std::function<absl::StatusOr<uint64_t>()> work, const Taken& done) {
  uint64_t call = 0;
  {
    const std::lock_guard<std::mutex> lock(open_->mutex);
    if (!open_->stopping) {
      call = ++open_->next;
      open_->calls[call] = done;
    }
  }
  if (call == 0) return done(absl::UnavailableError("the scheduler shuts down; submit again"));
  const auto result = std::make_shared<absl::StatusOr<uint64_t>>(0);
  folders_->perform(
      [work = std::move(work), result] {
        *result = work();
        return absl::OkStatus();
      },
      [open = open_, call, result](const absl::Status&) {
        if (const Taken waits = open->remove(call); waits) waits(*result);
      });
}

void Attachments::take(absl::string_view caller, const v1::AttachFileRequest& request, const Taken& done) {
  absl::Status refused = check_name(request.name());
  if (request.request_id().empty()) refused = absl::InvalidArgumentError("request_id: must be given");
  if (request.data().size() > kLargestPiece) {
    refused = absl::InvalidArgumentError(
        absl::StrCat("data: is of ", request.data().size(), " bytes, at most ", kLargestPiece, " are accepted"));
  }
  if (request.offset() > kMostAttachedBytes)
    refused =
        absl::InvalidArgumentError(absl::StrCat("offset: ", request.offset(), " is more than a job's files have"));
  if (!refused.ok()) return done(refused);
  if (request.offset() == 0) sweep();
  post([waiting = waiting_, folder = waiting_folder(caller, request.request_id()),
        request] { return write_piece(waiting, folder, request); },
       done);
}

void Attachments::check(absl::string_view caller, absl::string_view request_id, const v1::Job& job, Checked done) {
  post(
      [folder = waiting_folder(caller, request_id), job]() -> absl::StatusOr<uint64_t> {
        RETURN_IF_ERROR(check_there(folder, job));
        return 0;
      },
      [done = std::move(done)](const absl::StatusOr<uint64_t>& checked) { done(checked.status()); });
}

void Attachments::hand_over(absl::string_view caller, absl::string_view request_id, const std::string& job_folder) {
  folders_->perform([from = waiting_folder(caller, request_id), to = job_folder] { return move_over(from, to); },
                    [to = job_folder](const absl::Status& moved) {
                      if (!moved.ok()) log_warning(to, ": ", moved.message());
                    });
}

void Attachments::sweep() {
  folders_->perform(
      [waiting = waiting_] {
        remove_old(waiting);
        return absl::OkStatus();
      },
      [](const absl::Status&) {});
}

void Attachments::shut_down() {
  std::map<uint64_t, Taken> calls;
  {
    const std::lock_guard<std::mutex> lock(open_->mutex);
    open_->stopping = true;
    calls.swap(open_->calls);
  }
  for (const auto& [call, done] : calls) done(absl::UnavailableError("the scheduler shuts down; submit again"));
}

}  // namespace galleon::server
