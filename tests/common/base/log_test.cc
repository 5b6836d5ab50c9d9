// What a log on a full disk could not take is counted where it goes on.
#include "common/base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

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

}  // namespace
}  // namespace galleon
