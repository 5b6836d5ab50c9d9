#include "common/base/append_file.h"

#include <fcntl.h>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

namespace galleon {

absl::Status append_file(const std::string& path, absl::string_view data) {
  ASSIGN_OR_RETURN(const FileDescriptor file, open_to_write(path, O_WRONLY | O_CREAT | O_APPEND));
  const absl::Status written = write_all(file.get(), data);
  return written.ok() ? written : absl::Status(written.code(), absl::StrCat(path, ": ", written.message()));
}

}  // namespace galleon
