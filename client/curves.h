// The losses of a job over its steps, as its log tells them.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/jobs.pb.h"

namespace galleon {

class JobClient;

struct Curve {
  std::map<uint64_t, double> training;  // by step
  std::map<uint64_t, double> validation;
};

// Takes the losses out of the log of a rank; comes in pieces. A step that was trained again, after a resume from an
// earlier checkpoint, has the loss that it had last.
class CurveReader {
 public:
  explicit CurveReader(Curve& curve) : curve_(curve) {}
  void add(absl::string_view piece);
  void finish();

 private:
  void take(absl::string_view line);

  Curve& curve_;
  std::string rest_;
};

// From the logs of rank 0 of all attempts. A job that has not begun has none.
absl::StatusOr<Curve> read_curve(JobClient& client, const v1::JobRecord& job);

}  // namespace galleon
