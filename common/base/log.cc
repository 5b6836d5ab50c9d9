#include "common/base/log.h"

#include <cstdlib>
#include <string>

#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

#include "common/base/printable.h"

namespace galleon {

void init_logging(absl::string_view program, absl::string_view level) {
  const char* override = std::getenv("GALLEON_LOG");
  auto logger =
      std::make_shared<spdlog::logger>(std::string(program), std::make_shared<spdlog::sinks::stderr_sink_mt>());
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
