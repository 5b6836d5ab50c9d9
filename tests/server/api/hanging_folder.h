// A folder whose file system does not answer.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"

namespace galleon::server {

class HangingFolder {
 public:
  virtual ~HangingFolder() = default;
  // Before the threads start that are to see it hang.
  virtual absl::Status prepare() { return absl::OkStatus(); }
  // From now on every call to it waits.
  virtual absl::Status hang() = 0;
  // What waited goes on, or is given an error.
  virtual void answer() = 0;
  // For ServerOptions.
  virtual std::function<absl::Status(const std::string&)> make_folder() const { return {}; }
};

// By a call in the file system's place, which can be had everywhere.
class HangingCall final : public HangingFolder {
 public:
  absl::Status hang() override {
    const std::lock_guard<std::mutex> lock(gate_->mutex);
    gate_->open = false;
    return absl::OkStatus();
  }
  void answer() override {
    const std::lock_guard<std::mutex> lock(gate_->mutex);
    gate_->open = true;
    gate_->opened.notify_all();
  }
  // Somebody waits.
  bool waiting() const {
    const std::lock_guard<std::mutex> lock(gate_->mutex);
    return gate_->waiting;
  }
  std::function<absl::Status(const std::string&)> make_folder() const override {
    return [gate = gate_](const std::string& path) {
      std::unique_lock<std::mutex> lock(gate->mutex);
      gate->waiting = !gate->open;
      gate->opened.wait(lock, [&gate] { return gate->open; });
      return make_folders(path);
    };
  }

 private:
  struct Gate {
    std::mutex mutex;
    std::condition_variable opened;
    bool open = true;
    bool waiting = false;
  };
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
};

// By the kernel: a FUSE file system over the folder, mounted for this thread and those it starts alone, with nobody
// behind it who answers.
class HangingMount final : public HangingFolder {
 public:
  explicit HangingMount(std::string folder) : folder_(std::move(folder)) {}
  ~HangingMount() override { answer(); }

  absl::Status prepare() override {
    if (::unshare(CLONE_NEWNS) != 0) return errno_status("cannot have mounts of its own:", "this test", errno);
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return errno_status("cannot keep its mounts apart below", "/", errno);
    fuse_ = FileDescriptor(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!fuse_.valid()) return errno_status("cannot open", "/dev/fuse", errno);
    return absl::OkStatus();
  }
  absl::Status hang() override {
    const std::string options =
        absl::StrCat("fd=", fuse_.get(), ",rootmode=40000,user_id=", ::getuid(), ",group_id=", ::getgid());
    if (::mount("hanging", folder_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
      return errno_status("cannot mount on", folder_, errno);
    mounted_ = true;
    return absl::OkStatus();
  }
  void answer() override {
    if (!mounted_) return;
    mounted_ = false;
    ::umount2(folder_.c_str(), MNT_DETACH);
    // Ends what waits, with an error.
    fuse_ = FileDescriptor();
  }

 private:
  const std::string folder_;
  FileDescriptor fuse_;
  bool mounted_ = false;
};

}  // namespace galleon::server
