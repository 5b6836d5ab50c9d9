// A PostgreSQL of a test's own: made in a temporary folder as a user without rights, reached by a Unix socket alone,
// and ended by its id.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/process.h"
#include "common/base/user.h"
#include "tests/patience.h"

namespace galleon {

class PostgresCluster {
 public:
  // The folder with initdb and postgres; empty: there is none.
  static std::string programs() {
    std::string found;
    std::error_code error;
    for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", error)) {
      const std::string bin = version.path().string() + "/bin";
      if (std::filesystem::exists(bin + "/initdb") && std::filesystem::exists(bin + "/postgres")) found = bin;
    }
    return found;
  }

  // Null, and a failure, when it does not come up.
  static std::unique_ptr<PostgresCluster> start() {
    std::unique_ptr<PostgresCluster> cluster(new PostgresCluster());
    const CommandResult made = cluster->run({programs() + "/initdb", "-D", cluster->data(), "-U", "galleon", "-A",
                                             "trust", "--no-sync", "--no-locale", "-E", "UTF8"});
    EXPECT_EQ(made.exit.code, 0) << made.out << made.err;
    std::ofstream(cluster->data() + "/postgresql.conf", std::ios::app)
        << "listen_addresses = ''\nunix_socket_directories = '" << cluster->folder_
        << "'\nshared_buffers = 16MB\nmax_connections = 40\nautovacuum_naptime = 5s\n";
    if (made.exit.code != 0 || !cluster->begin()) return nullptr;
    return cluster;
  }

  ~PostgresCluster() {
    if (process_) end(SIGINT);
    std::filesystem::remove_all(folder_);
  }

  std::string log() const { return folder_ + "/log"; }

  // Starts it, again after end().
  bool begin() {
    ProcessOptions options;
    options.command = {programs() + "/postgres", "-D", data()};
    options.stdout_path = options.stderr_path = folder_ + "/log";
    options.user = user_;
    options.die_with_parent = true;
    absl::StatusOr<ProcessId> started = start_process(options);
    EXPECT_TRUE(started.ok()) << started.status();
    if (!started.ok()) return false;
    process_ = *started;
    const bool up = eventually([&] { return sql("SELECT 1", "postgres").exit.code == 0 || !process_alive(*process_); });
    EXPECT_TRUE(up && process_alive(*process_)) << read_file(folder_ + "/log").value_or("");
    return up && process_alive(*process_);
  }

  // SIGINT: connections are ended, everything is written; SIGQUIT: as after a crash.
  void end(int signal) {
    ::kill(process_->pid, signal);
    absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process_->pid, kPatience);
    EXPECT_TRUE(exit.ok() && exit->has_value()) << "PostgreSQL did not end";
    process_.reset();
  }

  CommandResult sql(const std::string& statement, const std::string& database) {
    return run({programs() + "/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", folder_, "-U", "galleon",
                "-d", database, "-c", statement});
  }
  // A new database; its name.
  std::string make_database() {
    const std::string name = "d" + random_hex(6);
    const CommandResult made = sql("CREATE DATABASE " + name, "postgres");
    EXPECT_EQ(made.exit.code, 0) << made.err;
    return name;
  }
  std::string url(const std::string& database) const {
    return absl::StrCat("postgresql://galleon@/", database, "?host=", folder_);
  }
  const std::string& folder() const { return folder_; }

 private:
  PostgresCluster() {
    // Short, as the path of a socket has to be.
    folder_ = absl::StrCat("/tmp/galleon-pg-", random_hex(6));
    std::filesystem::create_directory(folder_);
    if (::geteuid() == 0) {
      for (const char* name : {"postgres", "nobody"}) {
        const absl::StatusOr<User> found = find_user(name);
        if (found.ok()) user_ = *found;
        if (user_) break;
      }
      EXPECT_TRUE(user_.has_value() && ::chown(folder_.c_str(), user_->id, user_->group) == 0);
    }
    ::chmod(folder_.c_str(), 0755);
  }
  std::string data() const { return folder_ + "/data"; }
  CommandResult run(const std::vector<std::string>& command) {
    ProcessOptions options;
    options.command = command;
    options.user = user_;
    absl::StatusOr<CommandResult> result = run_command(options, kPatience);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : CommandResult{{1, 0}, false, "", ""};
  }

  std::string folder_;
  std::optional<User> user_;
  std::optional<ProcessId> process_;
};

}  // namespace galleon
