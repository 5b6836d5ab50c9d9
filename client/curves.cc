#include "client/curves.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/job_client.h"

namespace galleon {

namespace {

// The number with which the text begins, which is taken off it.
bool take_number(absl::string_view& text, double& value) {
  const size_t end = std::min(text.find_first_of(" /\t"), text.size());
  if (!absl::SimpleAtod(text.substr(0, end), &value)) return false;
  text.remove_prefix(end);
  return true;
}

}  // namespace

void CurveReader::add(absl::string_view piece) {
  for (size_t end = piece.find('\n'); end != absl::string_view::npos; end = piece.find('\n')) {
    rest_.append(piece.data(), end);
    take(rest_);
    rest_.clear();
    piece.remove_prefix(end + 1);
  }
  rest_.append(piece.data(), piece.size());
}

void CurveReader::finish() {
  take(rest_);
  rest_.clear();
}

// "… step 25/200  loss 6.3616  rate …" or "… step 100  validation loss 4.5632 …", as events.cc of the trainer writes.
void CurveReader::take(absl::string_view line) {
  const size_t begin = line.find(" step ");
  if (begin == absl::string_view::npos) return;
  line.remove_prefix(begin + 6);
  double step = 0;
  double loss = 0;
  if (!take_number(line, step) || step < 1) return;
  if (absl::ConsumePrefix(&line, "/")) {
    double steps = 0;
    if (take_number(line, steps) && absl::ConsumePrefix(&line, "  loss ") && take_number(line, loss))
      curve_.training[static_cast<uint64_t>(step)] = loss;
  } else if (absl::ConsumePrefix(&line, "  validation loss ") && take_number(line, loss)) {
    curve_.validation[static_cast<uint64_t>(step)] = loss;
  }
}

absl::StatusOr<Curve> read_curve(JobClient& client, const v1::JobRecord& job) {
  Curve curve;
  for (uint32_t attempt = 1; attempt <= job.attempts(); ++attempt) {
    CurveReader reader(curve);
    const absl::Status status = client.read_logs(
        job.job_id(), attempt, 0, false, [&reader](const v1::ReadLogsResponse& piece) { reader.add(piece.data()); });
    if (!status.ok()) return status;
    reader.finish();
  }
  return curve;
}

}  // namespace galleon
