#include "server/store/acknowledged.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "server/store/sqlite_schema.h"

namespace galleon::server {

namespace {

// "SEQUENCE CHECKSUM\n", each in 16 hexadecimal digits: one write of the same length always.
constexpr size_t kLength = 34;

std::string path_in(const std::string& folder) {
  return folder + "/scheduler.acknowledged";
}

std::string line_of(int64_t sequence) {
  const int64_t sum = checksum(sequence, "acknowledged");
  return absl::StrFormat("%016x %016x\n", static_cast<uint64_t>(sequence), static_cast<uint64_t>(sum));
}

}  // namespace

absl::StatusOr<Acknowledged> Acknowledged::open(const std::string& folder) {
  const std::string path = path_in(folder);
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  return Acknowledged(path, std::move(file));
}

absl::Status Acknowledged::check(int64_t sequence) const {
  char text[kLength];
  const ssize_t n = ::pread(file_.get(), text, kLength, 0);
  if (n < 0) return errno_status("cannot read", path_, errno);
  uint64_t known = 0;
  const absl::string_view line(text, static_cast<size_t>(n));
  // Nothing, or what a power cut left of a line, says nothing.
  if (line.size() != kLength || !absl::SimpleHexAtoi(line.substr(0, 16), &known) ||
      line != line_of(static_cast<int64_t>(known)) || static_cast<int64_t>(known) <= sequence)
    return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "the journal holds ", sequence, " entries, and ", known, " had been acknowledged: the last ",
      static_cast<int64_t>(known) - sequence,
      " are lost, since it is damaged, or was put back to an earlier moment; restore a backup (--restore), or what is "
      "left (--export, then --restore of that file), or remove ",
      path_, " to go on without them"));
}

absl::Status Acknowledged::set(int64_t sequence) {
  const std::string line = line_of(sequence);
  const ssize_t n = ::pwrite(file_.get(), line.data(), line.size(), 0);
  return n == static_cast<ssize_t>(line.size()) ? absl::OkStatus() : errno_status("cannot write", path_, errno);
}

void Acknowledged::forget(const std::string& folder) {
  ::unlink(path_in(folder).c_str());
}

}  // namespace galleon::server
