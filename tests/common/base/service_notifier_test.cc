#include "common/base/service_notifier.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/ids.h"
#include "tests/common/base/notify_socket.h"

namespace galleon {
namespace {

TEST(ServiceNotifier, SaysWhatHappensToAPathAndToAnAbstractSocket) {
  const std::string path = (std::filesystem::temp_directory_path() / absl::StrCat("notify-", random_hex(8))).string();
  for (const std::string& name : {path, absl::StrCat("@galleon-", random_hex(8))}) {
    const NotifySocket manager(name);
    const ServiceNotifier service(name);
    service.ready("serves\non 1");
    EXPECT_EQ(manager.next(), "READY=1\nSTATUS=serves on 1\n");
    service.reloading();
    const std::string reloading = manager.next();
    EXPECT_TRUE(absl::StartsWith(reloading, "RELOADING=1\nMONOTONIC_USEC=")) << reloading;
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const double said = std::strtod(reloading.c_str() + reloading.rfind('=') + 1, nullptr) / 1e6;
    EXPECT_NEAR(said, static_cast<double>(now.tv_sec), 60);
    service.stopping();
    EXPECT_EQ(manager.next(), "STOPPING=1\n");
  }
  std::filesystem::remove(path);
}

TEST(ServiceNotifier, ProgressIsToldFourTimesInTheWatchdogsTimeAndNotWhereNobodyWaits) {
  const NotifySocket manager(absl::StrCat("@galleon-", random_hex(8)));
  ServiceNotifier service(manager.name(), absl::Seconds(40));
  for (int second = 0; second <= 40; ++second) service.progressed(absl::Seconds(second));
  int told = 0;
  while (manager.next(absl::ZeroDuration()) == "WATCHDOG=1\n") ++told;
  EXPECT_EQ(told, 5);
  ServiceNotifier unwatched(manager.name());
  unwatched.progressed(absl::Seconds(1));
  EXPECT_EQ(manager.next(absl::ZeroDuration()), "");
}

TEST(ServiceNotifier, TheEnvironmentIsTakenAndNotLeftToChildren) {
  const NotifySocket manager(absl::StrCat("@galleon-", random_hex(8)));
  const auto started = [&manager](const std::string& pid) {
    ::setenv("NOTIFY_SOCKET", manager.name().c_str(), 1);
    ::setenv("WATCHDOG_USEC", "1000000", 1);
    ::setenv("WATCHDOG_PID", pid.c_str(), 1);
    ServiceNotifier service = ServiceNotifier::from_environment();
    service.progressed(absl::Seconds(1));
    return manager.next(absl::ZeroDuration());
  };
  EXPECT_EQ(started(absl::StrCat(::getpid())), "WATCHDOG=1\n");
  EXPECT_EQ(started("1"), "");  // another process is watched
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) EXPECT_EQ(std::getenv(name), nullptr);
  ServiceNotifier::from_environment().ready("nobody listens");
  EXPECT_EQ(manager.next(absl::ZeroDuration()), "");
}

}  // namespace
}  // namespace galleon
