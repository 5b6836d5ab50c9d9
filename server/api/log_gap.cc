#include "server/api/log_gap.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon::server {

absl::StatusOr<LogGap> read_log_gap(const std::string& path) {
  const absl::StatusOr<std::string> text = read_file(path);
  if (text.status().code() == absl::StatusCode::kNotFound) return LogGap();
  RETURN_IF_ERROR(text.status());
  const std::vector<std::string> parts = absl::StrSplit(*text, absl::MaxSplits(' ', 4));
  LogGap gap;
  const bool ok = parts.size() == 5 && absl::SimpleAtoi(parts[0], &gap.file) &&
                  absl::SimpleAtoi(parts[1], &gap.position) && absl::SimpleAtoi(parts[2], &gap.dropped_bytes) &&
                  absl::SimpleAtoi(parts[3], &gap.dropped_lines);
  if (!ok) return absl::DataLossError(absl::StrCat(path, " does not say what was left out of a log"));
  gap.line = parts[4];
  return gap;
}

absl::Status write_log_gap(const std::string& path, const LogGap& gap) {
  return write_file_durably(
      path, absl::StrCat(gap.file, " ", gap.position, " ", gap.dropped_bytes, " ", gap.dropped_lines, " ", gap.line));
}

}  // namespace galleon::server
