// Any bytes as a checkpoint's manifest: each field is refused by the file's name, or within what training can go on
// with; files that it names lie in its folder.
#include <filesystem>

#include "tests/fuzz/fuzz_folder.h"
#include "worker/engine/checkpoint/manifest.h"

namespace {

void named(const absl::Status& status, const std::string& folder) {
  if (status.message().find(folder) == absl::string_view::npos) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const galleon::FuzzFolder folder;
  folder.write(galleon::kManifest, {reinterpret_cast<const char*>(data), size});
  const absl::StatusOr<galleon::CheckpointHeader> header = galleon::read_checkpoint_header(folder.path());
  if (header.ok()) {
    if (header->step < 0 || header->tokens < 0 || header->ranks < 1 || header->schedule_steps < 0) __builtin_trap();
    // Of any batch that is accepted, the number of the next sequence does not overflow.
    if (header->step > INT64_MAX >> 22) __builtin_trap();
    for (const int64_t count : header->counts)
      if (count < 0) __builtin_trap();
  } else {
    named(header.status(), folder.path());
  }
  const absl::StatusOr<std::vector<galleon::CheckpointFile>> files = galleon::checkpoint_files(folder.path());
  if (!files.ok()) {
    named(files.status(), folder.path());
    return 0;
  }
  for (const galleon::CheckpointFile& file : *files) {
    const std::string whole = std::filesystem::path(folder.path() + "/" + file.name).lexically_normal().string();
    if (whole.substr(0, folder.path().size() + 1) != folder.path() + "/" || file.bytes < 0) __builtin_trap();
  }
  (void)galleon::verify_checkpoint(folder.path(), true);
  return 0;
}
