#include "server/page/page.h"

#include <zlib.h>

#include <array>

#include "common/base/check.h"
#include "page_assets.h"

namespace galleon::server {

const PageAsset* page_asset(absl::string_view path) {
  for (const PageAsset& asset : kPageAssets) {
    if (path == asset.path) return &asset;
  }
  return nullptr;
}

std::string unpacked(const PageAsset& asset) {
  z_stream stream{};
  GALLEON_CHECK(inflateInit2(&stream, MAX_WBITS + 16) == Z_OK) << "zlib";
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(asset.gzip.data()));
  stream.avail_in = static_cast<uInt>(asset.gzip.size());
  std::string text;
  std::array<char, 16384> piece{};
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = piece.size();
    result = inflate(&stream, Z_NO_FLUSH);
    text.append(piece.data(), piece.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  return text;
}

}  // namespace galleon::server
