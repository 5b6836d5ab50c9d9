// What a log on a full disk could not take is counted where it goes on.
#include "common/base/log.h"

#include "common/base/log_options.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"

#include "common/base/files.h"

namespace galleon {
namespace {

// A file that may grow to `bytes` and no further stands for a disk that is full.
void limit_files(rlim_t bytes) {
  rlimit limit;
  ::getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
}

TEST(Log, LinesThatAFullDiskDidNotTakeAreCountedWhereItGoesOn) {
  const std::string path = testing::TempDir() + "log-" + std::to_string(::getpid());
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644));
  ASSERT_TRUE(file.valid());
  const FileDescriptor before(::dup(STDERR_FILENO));
  ::dup2(file.get(), STDERR_FILENO);
  const auto old = ::signal(SIGXFSZ, SIG_IGN);
  init_logging("test");
  log_info("the first line");
  const auto size = static_cast<rlim_t>(::lseek(file.get(), 0, SEEK_END));
  limit_files(size + 10);
  for (int i = 0; i < 20; ++i) log_info("one that is lost, number ", i);
  limit_files(RLIM_INFINITY);
  log_info("the disk has space again");
  log_info("and more");
  ::signal(SIGXFSZ, old);
  ::dup2(before.get(), STDERR_FILENO);
  const std::string text = read_file(path).value_or("");
  ::unlink(path.c_str());
  EXPECT_THAT(text, testing::ContainsRegex("the first line\n.{10}\n"
                                           "\\[20 lines of this log could not be written: File too large\\]\n"
                                           "[^\n]* the disk has space again\n[^\n]* and more\n$"));
}

// What `log` says on standard error.
std::string said(const std::function<void()>& log) {
  const std::string path = testing::TempDir() + "said-" + std::to_string(::getpid());
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644));
  const FileDescriptor before(::dup(STDERR_FILENO));
  ::dup2(file.get(), STDERR_FILENO);
  log();
  ::dup2(before.get(), STDERR_FILENO);
  std::string text = read_file(path).value_or("");
  ::unlink(path.c_str());
  return text;
}

TEST(Log, AnObjectALineWhateverIsInIt) {
  const std::string text = said([] {
    init_logging("te\"st", LogOptions{"json", "info"});
    log_info("a \"path\" C:\\x\n\tand \xff more \x1b[31m");
    log_debug("not this");
    log_warning("second");
  });
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2) << text;
  const nlohmann::json first = nlohmann::json::parse(lines[0], nullptr, false);
  ASSERT_TRUE(first.is_object()) << text;
  EXPECT_EQ(first["message"], "a \"path\" C:\\x\\n\\tand \\xff more \\e[31m");
  EXPECT_EQ(first["level"], "info");
  EXPECT_EQ(first["program"], "te\"st");
  EXPECT_THAT(first["time"].get<std::string>(),
              testing::ContainsRegex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z$"));
  EXPECT_EQ(first.size(), 4);
  EXPECT_EQ(nlohmann::json::parse(lines[1])["level"], "warning");
}

TEST(Log, AnOptionSaysTheLevelAndTheVariableDoesWithoutOne) {
  ::setenv("GALLEON_LOG", "error", 1);
  const auto warn = [](const LogOptions& options) {
    return said([&options] {
      init_logging("test", options);
      log_warning("seen");
    });
  };
  EXPECT_EQ(warn({}), "");
  EXPECT_THAT(warn({"text", "warning"}), testing::HasSubstr(" warning test: seen\n"));
  ::unsetenv("GALLEON_LOG");
  EXPECT_THAT(warn({}), testing::HasSubstr("seen"));
  EXPECT_EQ(warn({"text", "error"}), "");
}

}  // namespace
}  // namespace galleon
