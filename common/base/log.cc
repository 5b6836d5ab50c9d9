#include "common/base/log.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/spdlog.h"

#include "common/base/printable.h"

namespace galleon {

namespace {

// Standard error, which may be a file on a disk that is full: what could not be written is counted, and said where the
// log goes on.
class StandardError final : public spdlog::sinks::base_sink<std::mutex> {
 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (lost_ > 0) {
      const std::string marker = absl::StrCat(cut_ ? "\n" : "", "[", lost_, lost_ == 1 ? " line" : " lines",
                                              " of this log could not be written: ", std::strerror(error_), "]\n");
      if (!write(marker)) {
        ++lost_;
        return;
      }
      lost_ = 0;
      cut_ = false;
    }
    if (!write({line.data(), line.size()})) ++lost_;
  }
  void flush_() override {}

  bool write(absl::string_view text) {
    const size_t whole = text.size();
    while (!text.empty()) {
      const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        error_ = errno;
        cut_ = cut_ || text.size() < whole;
        return false;
      }
      text.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  int64_t lost_ = 0;
  int error_ = 0;
  bool cut_ = false;  // the last line that was written has no end
};

}  // namespace

void init_logging(absl::string_view program, absl::string_view level) {
  const char* override = std::getenv("GALLEON_LOG");
  auto logger = std::make_shared<spdlog::logger>(std::string(program), std::make_shared<StandardError>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %n: %v");
  logger->set_level(spdlog::level::from_str(override != nullptr ? override : std::string(level)));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

namespace internal {

void log_line(int level, absl::string_view text) {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                                   spdlog::level::err};
  // Paths and messages of others are in lines, which a terminal is not to obey, and which begin no line of their own.
  const std::string line = printable(text);
  spdlog::log(kLevels[level], spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace internal
}  // namespace galleon
