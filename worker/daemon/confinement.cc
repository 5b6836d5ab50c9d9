#include "worker/daemon/confinement.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/globs.h"
#include "common/base/object_address.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"
#include "common/base/user.h"
#include "worker/daemon/library_folders.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

// What libraries read of a Linux system. /etc is not among it as a whole: keys lie there.
constexpr const char* kSystem[] = {
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/hosts", "/etc/host.conf",
    "/etc/resolv.conf", "/run/systemd/resolve", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services",
    "/etc/protocols", "/etc/passwd", "/etc/group", "/etc/localtime", "/etc/timezone", "/etc/ssl/certs",
    "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted", "/etc/nccl.conf", "/etc/nvidia", "/etc/libibverbs.d",
    // What the kernel says of itself, not of other processes.
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/devices", "/proc/driver", "/proc/filesystems",
    "/proc/modules", "/proc/sys", "/proc/version", "/sys", "/dev/random", "/dev/urandom", "/dev/zero"};
constexpr const char* kPrograms[] = {"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"};
constexpr const char* kDevices[] = {"/dev/null",       "/dev/full", "/dev/shm",    "/dev/tty",
                                    "/dev/infiniband", "/dev/dri",  "/dev/gdrdrv", "/dev/nvidia-caps"};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void add_file_named_by(const char* name, std::vector<std::string>& read, bool its_folder) {
  const std::string path = variable(name);
  if (!path.empty()) read.push_back(its_folder ? fs::path(path).parent_path().string() : path);
}

// Where the libraries of object stores look for credentials.
void add_credentials(std::vector<std::string>& read) {
  if (const std::string home = variable("HOME"); !home.empty()) {
    for (const char* below : {"/.aws", "/.config/gcloud", "/.azure"}) read.push_back(home + below);
  }
  for (const char* name : {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"})
    add_file_named_by(name, read, false);
  // Tokens that are renewed by a new file under the name.
  for (const char* name :
       {"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE"})
    add_file_named_by(name, read, true);
}

bool lies_below(const std::string& path, const std::string& folder) {
  return folder == "/" || path == folder || absl::StartsWith(path, absl::StrCat(folder, "/"));
}

}  // namespace

std::vector<std::string> Confinement::options() const {
  std::vector<std::string> words;
  for (const std::string& folder : reads) {
    if (!is_address(folder)) words.insert(words.end(), {"--reads", folder});
  }
  for (const std::string& folder : writes) words.insert(words.end(), {"--writes", folder});
  return words;
}

FileRules file_rules(const Confinement& confinement, const std::string& trainer) {
  FileRules rules;
  rules.run.assign(std::begin(kPrograms), std::end(kPrograms));
  // The program finds what belongs to it beside itself, wherever the path to it leads.
  std::error_code error;
  for (const fs::path& program : {fs::path(trainer), fs::weakly_canonical(trainer, error)}) {
    const fs::path folder = program.parent_path();
    rules.run.insert(rules.run.end(), {folder.string(), (folder / "../lib").lexically_normal().string()});
    // What it loads may have been linked to libraries that lie elsewhere, as Arrow's in Python's folders.
    std::vector<std::string> own = {program.string()};
    for (const char* pattern : {"/libgalleon_*.so", "/../lib/galleon/libgalleon_*.so"})
      for (const std::string& library : glob_paths(absl::StrCat(folder.string(), pattern))) own.push_back(library);
    for (const std::string& file : own)
      for (std::string& place : library_folders(file)) rules.run.push_back(std::move(place));
  }
  for (const char* name : {"LD_LIBRARY_PATH", "LD_PRELOAD"}) {
    const std::string paths = variable(name);
    for (const absl::string_view path : absl::StrSplit(paths, absl::ByAnyChar(": "), absl::SkipEmpty()))
      rules.run.emplace_back(path);
  }
  rules.read.assign(std::begin(kSystem), std::end(kSystem));
  for (const char* name :
       {"SSL_CERT_FILE", "SSL_CERT_DIR", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"})
    add_file_named_by(name, rules.read, false);
  for (const std::string& path : confinement.reads) {
    if (!is_address(path)) rules.read.push_back(path);
  }
  if (std::any_of(confinement.reads.begin(), confinement.reads.end(), is_address)) add_credentials(rules.read);
  rules.write.assign(std::begin(kDevices), std::end(kDevices));
  for (const std::string& device : glob_paths("/dev/nvidia*")) rules.write.push_back(device);
  rules.write.insert(rules.write.end(), confinement.writes.begin(), confinement.writes.end());
  return rules;
}

absl::Status check_trainer_user(const std::string& name) {
  absl::StatusOr<User> user = find_user(name);
  if (!user.ok()) return absl::Status(user.status().code(), absl::StrCat("--trainer-user: ", user.status().message()));
  if (user->id == 0) return absl::InvalidArgumentError("--trainer-user: a user other than root is accepted");
  ProcessOptions tried;
  tried.command = {"/bin/true"};
  tried.user = *user;
  const absl::StatusOr<ProcessId> process = start_process(tried);
  if (!process.ok()) {
    return absl::PermissionDeniedError(absl::StrCat(
        "--trainer-user ", name, ": this daemon may not start processes as another user (", process.status().message(),
        "); run it as root, or with the capabilities SETUID, SETGID, CHOWN, FOWNER, DAC_OVERRIDE and KILL"));
  }
  return wait_process(process->pid, absl::Minutes(1)).status();
}

absl::Status give_job_folder(const std::string& folder, const std::string& user) {
  RETURN_IF_ERROR(make_folders(folder));
  if (user.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const User owner, find_user(user));
  const FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!opened.valid() || ::fstat(opened.get(), &info) != 0) return errno_status("cannot open", folder, errno);
  if (info.st_uid == owner.id) return absl::OkStatus();
  constexpr mode_t kOwnersAndGroups = 0750;
  if (::fchown(opened.get(), owner.id, owner.group) != 0 || ::fchmod(opened.get(), kOwnersAndGroups) != 0)
    return errno_status(absl::StrCat("cannot give to user ", user), folder, errno);
  return absl::OkStatus();
}

absl::Status check_own_folders(const std::vector<std::string>& reads, const std::string& data, const std::string& tls) {
  for (const auto& [option, given] : {std::pair("--data", data), std::pair("--tls", tls)}) {
    std::error_code error;
    if (given.empty()) continue;
    const std::string own = fs::weakly_canonical(given, error).string();
    for (const std::string& folder : reads) {
      if (is_address(folder) || !lies_below(own, folder)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(option, " ", given, " lies below --allow ", folder,
                       ", where every job could read it; give them folders of their own"));
    }
  }
  return absl::OkStatus();
}

}  // namespace galleon
