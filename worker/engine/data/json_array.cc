#include "worker/engine/data/json_array.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr size_t kReadBytes = 1 << 16;

class ArrayLines final : public InputStream {
 public:
  ArrayLines(std::unique_ptr<InputStream> stream, std::string path)
      : stream_(std::move(stream)), path_(std::move(path)), buffer_(kReadBytes) {}

  absl::StatusOr<size_t> read(char* out, size_t size) override {
    size_t made = 0;
    while (made < size) {
      if (used_ == ready_) {
        ASSIGN_OR_RETURN(ready_, stream_->read(buffer_.data(), buffer_.size()));
        used_ = 0;
        if (ready_ == 0) break;
      }
      const char c = buffer_[used_++];
      char line = 0;
      RETURN_IF_ERROR(take(c, line));
      if (line != 0) out[made++] = line;
    }
    if (made == 0 && size > 0 && depth_ > 0)
      return absl::InvalidArgumentError(absl::StrCat(path_, ": the JSON array does not end; the file is truncated"));
    return made;
  }
  int64_t position() const override { return stream_->position(); }

 private:
  // What the lines have for the next byte; 0: nothing.
  absl::Status take(char c, char& line) {
    const bool breaks = c == '\n' || c == '\r';
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
      line = breaks ? ' ' : c;
      return absl::OkStatus();
    }
    if (depth_ == 0) return outside(c);
    if (c == '"') in_string_ = true;
    if (c == '[' || c == '{') ++depth_;
    if (c == ']' || c == '}') --depth_;
    if (depth_ == 0) {
      ended_ = true;
      line = '\n';
    } else if (depth_ == 1 && c == ',') {
      line = '\n';
    } else {
      line = breaks ? ' ' : c;
    }
    return absl::OkStatus();
  }

  absl::Status outside(char c) {
    if (!ended_ && c == '[') {
      depth_ = 1;
    } else if (ended_ && !absl::ascii_isspace(static_cast<unsigned char>(c)) && c != '\0') {
      return absl::InvalidArgumentError(absl::StrCat(path_, ": there is more behind the end of the JSON array"));
    }
    return absl::OkStatus();
  }

  std::unique_ptr<InputStream> stream_;
  std::string path_;
  std::vector<char> buffer_;
  size_t used_ = 0;
  size_t ready_ = 0;
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<InputStream> json_array_lines(std::unique_ptr<InputStream> stream, const std::string& path) {
  return std::make_unique<ArrayLines>(std::move(stream), path);
}

}  // namespace galleon
