// Files of object stores, by address (common/base/object_address.h). Credentials come from the environment, as the
// stores' own tools take them. What fails for a moment is tried again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/storage/arrow/plugin.h"

namespace galleon {

struct StoredObject {
  std::string address;
  int64_t size = 0;     // bytes
  int64_t changed = 0;  // nanoseconds since 1970
};

// Objects whose address begins with the folder `address`, on all levels, or the object of that address; sorted by
// address. Errors: the address is not one; NOT_FOUND: no such bucket; PERMISSION_DENIED; UNAVAILABLE.
absl::StatusOr<std::vector<StoredObject>> list_objects(const std::string& address);

// Objects that match a pattern of addresses as glob_paths matches paths; sorted, each once; empty: none. The bucket is
// no pattern.
absl::StatusOr<std::vector<StoredObject>> glob_objects(const std::string& pattern);

class ObjectFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE.
  static absl::StatusOr<std::unique_ptr<ObjectFile>> open(const std::string& address);
  ~ObjectFile();
  ObjectFile(const ObjectFile&) = delete;
  ObjectFile& operator=(const ObjectFile&) = delete;

  int64_t size() const { return size_; }
  // Bytes read, fewer than `size` only at the end of the object.
  absl::StatusOr<int64_t> read_at(int64_t offset, char* out, int64_t size);

 private:
  ObjectFile(const GalleonArrowFunctions& functions, std::string address)
      : functions_(functions), address_(std::move(address)) {}

  const GalleonArrowFunctions& functions_;
  std::string address_;
  GalleonArrowFile* file_ = nullptr;
  int64_t size_ = 0;
};

// Writes a file of this machine to an address; the object appears as a whole. `wanted` is asked between pieces; false
// ends the copy with CANCELLED and without an object.
absl::Status upload_file(const std::string& path, const std::string& address, const std::function<bool()>& wanted);
absl::Status upload_bytes(absl::string_view bytes, const std::string& address);

// Writes an object to a file of this machine, which appears as a whole.
absl::Status download_file(const std::string& address, const std::string& path);

absl::Status remove_object(const std::string& address);

}  // namespace galleon
