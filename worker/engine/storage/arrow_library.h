// The plug-in around Apache Arrow (arrow/plugin.h), loaded when it is needed for the first time.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/storage/arrow/plugin.h"

namespace galleon {

// UNIMPLEMENTED: the plug-in, or a library that it needs, is not there; says what is read with it and how to get it.
absl::StatusOr<const GalleonArrowFunctions*> arrow_functions();

// A place for what a call to the plug-in says of its failure.
class ArrowFailure {
 public:
  ArrowFailure();
  GalleonArrowFailure* get() { return &failure_; }
  GalleonArrowError error() const { return failure_.error; }
  // With `what` before the reason: NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT or UNAVAILABLE.
  absl::Status status(absl::string_view what) const;

 private:
  std::string message_;
  GalleonArrowFailure failure_;
};

// Calls `call` until it returns true, or fails for another reason than kGalleonArrowUnavailable, or has failed three
// times with growing pauses between. The stores' own libraries try again too, each time.
absl::Status with_retries(absl::string_view what, const std::function<bool(GalleonArrowFailure*)>& call);

}  // namespace galleon
