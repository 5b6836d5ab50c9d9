#include "worker/engine/tracking/metrics_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kPiece = 1 << 16;

MetricsLine parsed(const Json& json, bool subspaces) {
  MetricsLine line;
  line.step = json.value("step", int64_t{0});
  line.evaluation = json.contains("validation_loss");
  if (json.contains("time") && json["time"].is_number())
    line.time_ms = static_cast<int64_t>(std::llround(1000 * json["time"].get<double>()));
  line.scalars = scalars_of(json, subspaces);
  return line;
}

}  // namespace

absl::StatusOr<std::vector<MetricsLine>> MetricsReader::read(size_t most) {
  ASSIGN_OR_RETURN(const FileDescriptor file, open_to_read(path_));
  std::vector<MetricsLine> lines;
  std::string text;
  std::vector<char> piece(kPiece);
  while (lines.size() < most) {
    const ssize_t size = ::pread(file.get(), piece.data(), piece.size(), position_ + static_cast<int64_t>(text.size()));
    if (size < 0) return errno_status("cannot read", path_, errno);
    if (size == 0) break;
    text.append(piece.data(), static_cast<size_t>(size));
    size_t begin = 0;
    for (size_t end = text.find('\n'); end != std::string::npos && lines.size() < most; end = text.find('\n', begin)) {
      const Json json = Json::parse(text.begin() + static_cast<ptrdiff_t>(begin),
                                    text.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
      begin = end + 1;
      if (json.is_object()) lines.push_back(parsed(json, subspaces_));
    }
    position_ += static_cast<int64_t>(begin);
    text.erase(0, begin);
  }
  return lines;
}

}  // namespace galleon
