#include "common/base/output_file.h"

#include <filesystem>

#include "absl/strings/str_cat.h"

namespace galleon {

namespace {

const char* kind_text(std::filesystem::file_type type) {
  switch (type) {
    case std::filesystem::file_type::directory:
      return "a folder";
    case std::filesystem::file_type::symlink:
      return "a symbolic link";
    case std::filesystem::file_type::block:
    case std::filesystem::file_type::character:
      return "a device";
    case std::filesystem::file_type::fifo:
      return "a FIFO";
    case std::filesystem::file_type::socket:
      return "a socket";
    default:
      return "something else";
  }
}

}  // namespace

absl::Status check_replaceable(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_type type = std::filesystem::symlink_status(path, error).type();
  if (type == std::filesystem::file_type::not_found || type == std::filesystem::file_type::regular)
    return absl::OkStatus();
  if (type == std::filesystem::file_type::none)
    return absl::PermissionDeniedError(absl::StrCat("cannot look at ", path, ": ", error.message()));
  return absl::FailedPreconditionError(
      absl::StrCat(path, " is ", kind_text(type), " and not a regular file; it was left as it is, give another path"));
}

}  // namespace galleon
