// Addresses of files in object stores: s3://BUCKET/KEY, gs://BUCKET/KEY,
// abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace galleon {

// Whether a text begins like an address, NAME://; of any scheme, also of one that is not read.
bool is_address(absl::string_view text);

// INVALID_ARGUMENT: a scheme that is not read, an address without a bucket, one whose bucket is a pattern, one that
// carries credentials or a query, neither of which is repeated in the message, and one with the name "." or "..".
absl::Status check_address(absl::string_view address);

// Of a folder: s3://BUCKET/KEY also where s3://BUCKET/KEY/ was written.
std::string without_trailing_slashes(absl::string_view address);

}  // namespace galleon
