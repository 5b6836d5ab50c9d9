#include "common/base/append_file.h"

#include <fcntl.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"

namespace galleon {

absl::Status append_file(const std::string& path, absl::string_view data) {
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  const absl::Status written = write_all(file.get(), data);
  return written.ok() ? written : absl::Status(written.code(), absl::StrCat(path, ": ", written.message()));
}

}  // namespace galleon
