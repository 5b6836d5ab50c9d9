#include "common/base/log.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/spdlog.h"

#include "common/base/log_options.h"
#include "common/base/printable.h"

namespace galleon {

namespace {

// The text of a JSON string. Lines have no control characters and no bytes that are not UTF-8 any more.
std::string json_text(absl::string_view text) {
  std::string quoted;
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted.push_back('\\');
    quoted.push_back(c);
  }
  return quoted;
}

std::string json_line(absl::Time time, absl::string_view level, absl::string_view program, absl::string_view text) {
  return absl::StrCat("{\"time\":\"", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone()),
                      "\",\"level\":\"", level, "\",\"program\":\"", json_text(program), "\",\"message\":\"",
                      json_text(text), "\"}\n");
}

absl::string_view view(const spdlog::string_view_t& text) {
  return {text.data(), text.size()};
}

class JsonLines final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const std::string text =
        json_line(absl::FromChrono(message.time), view(spdlog::level::to_string_view(message.level)),
                  view(message.logger_name), view(message.payload));
    line.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonLines>(); }
};

// Standard error, which may be a file on a disk that is full: what could not be written is counted, and said where the
// log goes on.
class StandardError final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  // `json_of`: the program, where lines are JSON.
  explicit StandardError(std::string json_of) : json_of_(std::move(json_of)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (lost_ > 0) {
      const std::string said = absl::StrCat(lost_, lost_ == 1 ? " line" : " lines",
                                            " of this log could not be written: ", std::strerror(error_));
      const std::string marker =
          absl::StrCat(cut_ ? "\n" : "", json_of_.empty() ? absl::StrCat("[", said, "]\n")
                                                          : json_line(absl::Now(), "warning", json_of_, said));
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

  const std::string json_of_;
  int64_t lost_ = 0;
  int error_ = 0;
  bool cut_ = false;  // the last line that was written has no end
};

}  // namespace

void init_logging(absl::string_view program, const LogOptions& options, absl::string_view usual) {
  const char* variable = std::getenv("GALLEON_LOG");
  const bool json = options.format == "json";
  std::string level = options.level;
  if (level.empty()) level = variable != nullptr ? variable : std::string(usual);
  auto logger = std::make_shared<spdlog::logger>(std::string(program),
                                                 std::make_shared<StandardError>(json ? std::string(program) : ""));
  if (json) {
    logger->set_formatter(std::make_unique<JsonLines>());
  } else {
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %n: %v");
  }
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

void init_logging(absl::string_view program, absl::string_view level) {
  init_logging(program, LogOptions(), level);
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
