#include "server/api/audit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/log.h"

namespace galleon::server {

namespace {

// A JSON string. What is not printable ASCII is written as \u00XX, byte by byte.
std::string quoted(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, 512)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", byte);
      out += code;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

Audit::Audit(std::string folder, uint64_t most_bytes, int keep)
    : path_(folder + "/audit.jsonl"), most_bytes_(most_bytes), keep_(keep) {}

void Audit::record(absl::string_view caller, absl::string_view peer, absl::string_view method,
                   absl::string_view resource, const absl::Status& status) {
  const std::string line =
      absl::StrCat("{\"time\":", quoted(absl::FormatTime(absl::Now(), absl::UTCTimeZone())),
                   ",\"caller\":", quoted(caller), ",\"peer\":", quoted(peer), ",\"method\":", quoted(method),
                   ",\"resource\":", quoted(resource), ",\"result\":", quoted(absl::StatusCodeToString(status.code())),
                   status.ok() ? "" : absl::StrCat(",\"message\":", quoted(status.message())), "}\n");
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    first = pending_.empty();
    pending_ += line;
  }
  if (first) thread_.post([this] { write(); });
}

void Audit::write() {
  std::string lines;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    lines.swap(pending_);
  }
  struct stat info {};
  if (::stat(path_.c_str(), &info) == 0 && static_cast<uint64_t>(info.st_size) + lines.size() > most_bytes_) {
    for (int i = keep_ - 1; i > 0; --i)
      (void)std::rename((i == 1 ? path_ : absl::StrCat(path_, ".", i - 1)).c_str(),
                        absl::StrCat(path_, ".", i).c_str());
  }
  FileDescriptor file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const absl::Status status = file.valid() ? write_all(file.get(), lines) : errno_status("cannot open", path_, errno);
  if (!status.ok()) log_warning("the audit log cannot be written: ", std::string(status.message()));
}

}  // namespace galleon::server
