// All jobs by number. Those that live are whole; those that have ended are packed, as there may be hundreds of
// thousands of them, and nearly nobody asks for one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/journal.pb.h"
#include "server/core/packed_job.h"

namespace galleon::server {

class JobEntry {
 public:
  JobFacts facts() const { return whole_ != nullptr ? facts_of(*whole_) : packed_->facts(); }
  uint64_t number() const { return whole_ != nullptr ? whole_->number() : packed_->number(); }
  v1::JobRecord::State state() const { return whole_ != nullptr ? whole_->record().state() : packed_->state(); }

 private:
  friend class JobTable;
  // At least one of them; both only if they say the same.
  mutable std::unique_ptr<v1::JobState> whole_;
  mutable std::shared_ptr<const PackedJob> packed_;
};

class JobTable {
 public:
  // An entry stays where it is.
  const std::map<uint64_t, JobEntry>& entries() const { return entries_; }
  // Null if there is none.
  const JobEntry* entry(uint64_t number) const;

  // A job that has ended is good until pack() or the next change of it; one that lives stays where it is.
  const v1::JobState& whole(const JobEntry& entry) const;
  // For those who look at many: the job is good for this call alone.
  void read(const JobEntry& entry, absl::FunctionRef<void(const v1::JobState&)> reader) const;
  // The same as whole() for somebody who changes it.
  v1::JobState& change(const JobEntry& entry);
  // The job as it is now, for other threads.
  std::shared_ptr<const PackedJob> packed(const JobEntry& entry) const;
  // The job, serialized; valid until the next call for any.
  absl::string_view body(const JobEntry& entry) const;

  const JobEntry& add(std::unique_ptr<v1::JobState> job);
  // One that has ended. `body` is the job, serialized.
  const JobEntry& add_packed(const v1::JobState& job, absl::string_view body);
  void erase(uint64_t number) { entries_.erase(number); }

  // Lets go of what was unpacked or has ended since the last call.
  void pack();
  // So many jobs are whole that pack() may let go of.
  size_t loose() const { return loose_.size(); }

 private:
  void unpack(const JobEntry& entry) const;

  std::map<uint64_t, JobEntry> entries_;
  mutable std::vector<uint64_t> loose_;  // whole, and perhaps ended
  mutable JobPacker packer_;
  mutable JobUnpacker unpacker_;
  mutable v1::JobState read_;
  mutable std::string body_;
};

}  // namespace galleon::server
