#include "server/core/job_table.h"

#include "server/core/transitions.h"

namespace galleon::server {

const JobEntry* JobTable::entry(uint64_t number) const {
  const auto it = entries_.find(number);
  return it == entries_.end() ? nullptr : &it->second;
}

void JobTable::unpack(const JobEntry& entry) const {
  entry.whole_ = std::make_unique<v1::JobState>();
  unpacker_.unpack(*entry.packed_, *entry.whole_);
  loose_.push_back(entry.whole_->number());
}

const v1::JobState& JobTable::whole(const JobEntry& entry) const {
  if (entry.whole_ == nullptr) unpack(entry);
  return *entry.whole_;
}

void JobTable::read(const JobEntry& entry, absl::FunctionRef<void(const v1::JobState&)> reader) const {
  if (entry.whole_ != nullptr) return reader(*entry.whole_);
  unpacker_.unpack(*entry.packed_, read_);
  reader(read_);
}

v1::JobState& JobTable::change(const JobEntry& entry) {
  if (entry.whole_ == nullptr) unpack(entry);
  entry.packed_.reset();
  // It may end by this change.
  if (const uint64_t number = entry.whole_->number(); loose_.empty() || loose_.back() != number)
    loose_.push_back(number);
  return *entry.whole_;
}

std::shared_ptr<const PackedJob> JobTable::packed(const JobEntry& entry) const {
  if (entry.packed_ == nullptr) entry.packed_ = packer_.pack(*entry.whole_);
  return entry.packed_;
}

absl::string_view JobTable::body(const JobEntry& entry) const {
  if (entry.packed_ != nullptr) return unpacker_.body(*entry.packed_);
  entry.whole_->SerializeToString(&body_);
  return body_;
}

const JobEntry& JobTable::add(std::unique_ptr<v1::JobState> job) {
  const JobEntry& entry = entries_[job->number()];
  entry.whole_ = std::move(job);
  entry.packed_.reset();
  return entry;
}

const JobEntry& JobTable::add_packed(const v1::JobState& job, absl::string_view body) {
  const JobEntry& entry = entries_.try_emplace(entries_.end(), job.number())->second;
  entry.packed_ = packer_.pack(job, body);
  entry.whole_.reset();
  return entry;
}

void JobTable::pack() {
  for (const uint64_t number : loose_) {
    const JobEntry* found = entry(number);
    if (found == nullptr || found->whole_ == nullptr || !is_terminal(found->state())) continue;
    (void)packed(*found);
    found->whole_.reset();
  }
  loose_.clear();
}

}  // namespace galleon::server
