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

constexpr size_t kMostAddresses = 1'000;  // that are told apart
constexpr absl::Duration kCountedFor = absl::Minutes(1);

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

std::string time_text() {
  return absl::FormatTime(absl::Now(), absl::UTCTimeZone());
}

}  // namespace

Audit::Audit(std::string folder, const Clock* clock, uint64_t most_bytes, int keep)
    : clock_(clock),
      most_bytes_(most_bytes),
      keep_(keep),
      known_{folder + "/audit.jsonl", ""},
      unknown_{folder + "/audit-unknown.jsonl", ""} {}

Audit::~Audit() {
  const std::lock_guard<std::mutex> lock(mutex_);
  flush_counts(clock_->monotonic());
}

void Audit::record(absl::string_view caller, absl::string_view peer, absl::string_view method,
                   absl::string_view resource, const absl::Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (absl::IsUnauthenticated(status)) return count(peer, method);
  add(known_, absl::StrCat("{\"time\":", quoted(time_text()), ",\"caller\":", quoted(caller), ",\"peer\":",
                           quoted(peer), ",\"method\":", quoted(method), ",\"resource\":", quoted(resource),
                           ",\"result\":", quoted(absl::StatusCodeToString(status.code())),
                           status.ok() ? "" : absl::StrCat(",\"message\":", quoted(status.message())), "}\n"));
}

// The first at once, then what has come together.
void Audit::count(absl::string_view peer, absl::string_view method) {
  const std::pair<std::string, std::string> key(peer.substr(0, peer.rfind(':')), method);
  if (counts_.size() < kMostAddresses || counts_.contains(key)) {
    ++counts_[key];
  } else {
    ++uncounted_;
  }
  const absl::Duration now = clock_->monotonic();
  if (now - last_flush_ >= kCountedFor) flush_counts(now);
}

void Audit::flush_counts(absl::Duration now) {
  last_flush_ = now;
  const std::string time = quoted(time_text());
  std::string lines;
  for (const auto& [key, calls] : counts_) {
    absl::StrAppend(&lines, "{\"time\":", time, ",\"peer\":", quoted(key.first), ",\"method\":", quoted(key.second),
                    ",\"calls\":", calls, ",\"result\":\"UNAUTHENTICATED\"}\n");
  }
  if (uncounted_ > 0)
    absl::StrAppend(&lines, "{\"time\":", time, ",\"peer\":\"others\",\"calls\":", uncounted_,
                    ",\"result\":\"UNAUTHENTICATED\"}\n");
  counts_.clear();
  uncounted_ = 0;
  if (!lines.empty()) add(unknown_, lines);
}

void Audit::add(File& file, const std::string& line) {
  const bool first = file.pending.empty();
  file.pending += line;
  if (first) thread_.post([this, &file] { write(file); });
}

void Audit::write(File& file) {
  std::string lines;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    lines.swap(file.pending);
  }
  const std::string& path = file.path;
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && static_cast<uint64_t>(info.st_size) + lines.size() > most_bytes_) {
    for (int i = keep_ - 1; i > 0; --i)
      (void)std::rename((i == 1 ? path : absl::StrCat(path, ".", i - 1)).c_str(), absl::StrCat(path, ".", i).c_str());
  }
  FileDescriptor out(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const absl::Status status = out.valid() ? write_all(out.get(), lines) : errno_status("cannot open", path, errno);
  if (!status.ok()) log_warning("the audit log cannot be written: ", std::string(status.message()));
}

}  // namespace galleon::server
