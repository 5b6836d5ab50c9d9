#include "worker/engine/storage/arrow_library.h"

#include <dlfcn.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr int kAttempts = 3;
constexpr absl::Duration kFirstPause = absl::Milliseconds(500);
constexpr size_t kLongestMessage = 400;

// Bound to its own symbols first. The sanitizers' run-time refuses that flag, so their builds have no Arrow. Never
// unloaded: Arrow's threads and handlers at exit live as long as the process.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCanLoad = false;
constexpr int kFlags = RTLD_NOW | RTLD_LOCAL;
#else
constexpr bool kCanLoad = true;
constexpr int kFlags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND | RTLD_NODELETE;
#endif

absl::StatusOr<const GalleonArrowFunctions*> load() {
  std::string reason = kCanLoad ? "" : "a sanitizer build cannot load it";
  for (const char* folder : {"", "/../lib/galleon"}) {
    if (!kCanLoad) break;
    const std::string path = absl::StrCat(executable_folder(), folder, "/libgalleon_arrow.so");
    void* library = ::dlopen(path.c_str(), kFlags);
    if (library == nullptr) {
      if (reason.empty()) reason = ::dlerror();
      continue;
    }
    auto* functions = reinterpret_cast<decltype(&galleon_arrow_functions)>(::dlsym(library, "galleon_arrow_functions"));
    if (functions != nullptr) return functions();
  }
  return absl::UnimplementedError(
      absl::StrCat("Parquet files and object stores are read by Apache Arrow's libraries, which are not there (",
                   reason, "); docs/install.md says how to build with them"));
}

absl::StatusCode code_of(GalleonArrowError error) {
  switch (error) {
    case kGalleonArrowNotFound:
      return absl::StatusCode::kNotFound;
    case kGalleonArrowDenied:
      return absl::StatusCode::kPermissionDenied;
    case kGalleonArrowInvalid:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

absl::StatusOr<const GalleonArrowFunctions*> arrow_functions() {
  static const absl::StatusOr<const GalleonArrowFunctions*> functions = load();
  return functions;
}

ArrowFailure::ArrowFailure() : failure_() {
  failure_.tell = [](void* context, const char* message, size_t length) {
    static_cast<std::string*>(context)->assign(message, std::min(length, kLongestMessage));
  };
  failure_.context = &message_;
}

absl::Status ArrowFailure::status(absl::string_view what) const {
  if (failure_.error == kGalleonArrowDenied)
    return absl::PermissionDeniedError(
        absl::StrCat(what, ": access is refused (", message_, "); credentials come from the environment"));
  std::string line = message_;
  std::replace(line.begin(), line.end(), '\n', ' ');
  return absl::Status(code_of(failure_.error), absl::StrCat(what, ": ", line));
}

absl::Status with_retries(absl::string_view what, const std::function<bool(GalleonArrowFailure*)>& call) {
  absl::Duration pause = kFirstPause;
  for (int attempt = 1;; ++attempt) {
    ArrowFailure failure;
    if (call(failure.get())) return absl::OkStatus();
    if (failure.error() != kGalleonArrowUnavailable || attempt == kAttempts) return failure.status(what);
    absl::SleepFor(pause);
    pause *= 2;
  }
}

}  // namespace galleon
