// Jobs' own folders, which may lie on a network file system. Everything that touches them happens on a thread of its
// own: a file system that does not answer holds up what waits for a folder, and nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace galleon::server {

class JobFolders {
 public:
  // Makes a folder and those above it. Called on the thread of this object.
  using MakeFolder = std::function<absl::Status(const std::string& path)>;

  // `root`: all jobs' folders lie below it.
  JobFolders(std::string root, MakeFolder make);
  // No answer comes after it. Where the file system still does not answer, the thread is left to it.
  ~JobFolders();
  JobFolders(const JobFolders&) = delete;
  JobFolders& operator=(const JobFolders&) = delete;

  // Makes the root and looks which numbers from `next_number` on have a folder with files in it. Waits for at most
  // `patience`; what is found later counts from then on. The error, if the root cannot be made.
  absl::Status open(uint64_t next_number, absl::Duration patience);
  // Calls `done` on this object's thread, in the order of the calls. Returns at once.
  void make(std::string folder, std::function<void(const absl::Status& made)> done);
  // Does other work on the file system, and calls `done` as make() does. What `work` uses must outlive a file system
  // that does not answer.
  void perform(std::function<absl::Status()> work, std::function<void(const absl::Status& done)> done);
  // The first number from `number` on under which no files of a job lie that the journal does not know, as far as
  // open() has found them. Touches no file.
  uint64_t free_number(absl::string_view job_name, uint64_t number) const;

 private:
  // What outlives this object where its thread hangs.
  struct Shared;
  static void run(const std::shared_ptr<Shared>& shared);
  void post(std::function<void()> task);

  const std::string root_;
  const MakeFolder make_;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace galleon::server
