#include "worker/engine/data/fingerprint.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "kernels/math/mix.h"
#include "worker/engine/data/byte_ranges.h"

namespace galleon {

namespace {

constexpr int64_t kWhole = int64_t{64} << 20;
constexpr int64_t kSample = 1 << 16;

}  // namespace

// FNV-1a's step over eight bytes at a time, with the high half folded in, so that every bit comes to count.
void Fingerprint::add(absl::string_view bytes) {
  const auto step = [this](uint64_t value) {
    hash_ = (hash_ ^ value) * math::kGolden;
    hash_ ^= hash_ >> 32;
  };
  step(bytes.size());
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, 8);
    step(value);
  }
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, bytes.size() - at);
  step(value);
}

void Fingerprint::add_number(int64_t number) {
  add({reinterpret_cast<const char*>(&number), sizeof(number)});
}

absl::Status Fingerprint::add_files(const std::vector<std::string>& paths) {
  std::vector<int64_t> sizes;
  int64_t total = 0;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const std::unique_ptr<ByteRanges> file, ByteRanges::open(path));
    sizes.push_back(file->size());
    total += file->size();
  }
  std::string buffer;
  for (size_t i = 0; i < paths.size(); ++i) {
    ASSIGN_OR_RETURN(const std::unique_ptr<ByteRanges> file, ByteRanges::open(paths[i]));
    add_number(sizes[i]);
    const auto add_range = [&](int64_t begin, int64_t end) -> absl::Status {
      while (begin < end) {
        buffer.resize(static_cast<size_t>(std::min<int64_t>(end - begin, 1 << 20)));
        ASSIGN_OR_RETURN(int64_t n, file->read_at(begin, buffer.data(), static_cast<int64_t>(buffer.size())));
        if (n == 0) break;
        add(absl::string_view(buffer.data(), static_cast<size_t>(n)));
        begin += n;
      }
      return absl::OkStatus();
    };
    if (is_whole(total) || sizes[i] <= 3 * kSample) {
      RETURN_IF_ERROR(add_range(0, sizes[i]));
      continue;
    }
    for (const int64_t begin : {int64_t{0}, sizes[i] / 2, sizes[i] - kSample}) {
      RETURN_IF_ERROR(add_range(begin, begin + kSample));
    }
  }
  return absl::OkStatus();
}

bool Fingerprint::is_whole(int64_t bytes) {
  return bytes <= kWhole;
}

std::string Fingerprint::text() const {
  return absl::StrCat(absl::Hex(hash_, absl::kZeroPad16));
}

}  // namespace galleon
