// Arrow's file systems by address, and what their failures mean.
#pragma once

#include <arrow/filesystem/filesystem.h>

#include <memory>
#include <string>

#include "worker/engine/storage/arrow/plugin.h"

namespace galleon_arrow {

struct Place {
  std::shared_ptr<arrow::fs::FileSystem> system;
  std::string path;    // within the file system: BUCKET/PATH
  std::string bucket;  // or the container; what a path begins with
  std::string prefix;  // what stands in an address where a path has the bucket: s3://BUCKET
};

// s3://BUCKET/PATH, gs://BUCKET/PATH, abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, or a path of this machine.
// File systems are made once for each bucket or account, with the credentials that the environment gives.
arrow::Result<Place> place_of(const std::string& address);

// Fills `failure`; false, so that a caller can return it.
bool fail(const arrow::Status& status, GalleonArrowFailure* failure);

}  // namespace galleon_arrow
