// The files of the page, packed at build time.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace galleon::server {

struct PageAsset {
  const char* path;  // "/", "/page/main.js"
  const char* type;  // Content-Type
  const char* etag;  // in quotes, of what is in it
  absl::string_view gzip;
};

// Null: there is none.
const PageAsset* page_asset(absl::string_view path);
std::string unpacked(const PageAsset& asset);

}  // namespace galleon::server
