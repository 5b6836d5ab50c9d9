// What the scheduler knows of its workers at this moment and never writes down: leases, what each daemon reported last,
// and progress. After a restart it is learnt again from the daemons' reports.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "galleon/v1/trainer.pb.h"
#include "galleon/v1/workers.pb.h"

namespace galleon::server {

// One moment on two clocks: `wall_ms` for records, `mono_ms` (never jumps) for leases and deadlines.
struct Now {
  int64_t wall_ms = 0;
  int64_t mono_ms = 0;
};

struct WorkerLive {
  int64_t lease_end_ms = 0;  // monotonic
  int64_t expected_ms = 0;   // monotonic: the next sync is due
  int64_t last_seen_wall_ms = 0;
  uint64_t session = 0;        // of the last registration; 0: not known since the scheduler started
  uint64_t last_sequence = 0;  // of the newest sync
  uint64_t revision = 0;       // of the assignments; a waiting sync is answered when it changes
  bool synced = false;         // it has said what it holds since it registered, or since the scheduler started
  bool unreachable = false;
  bool leaving = false;
  int foreign_ranks = 0;  // processes that it holds and should not: no new work before they are gone
  std::vector<v1::DeviceInfo> devices;
  // Jobs that could not run there for a fault of the place, since one could; a job whose fault is certain counts each
  // time.
  std::vector<std::string> faults;
  std::set<std::string> cordoned_for;  // the jobs for which the scheduler cordoned it
  v1::WorkerProbe probe;               // the newest
  uint64_t probe_at_order = 0;         // its number when the worker was ordered something; only later ones change that
};

// One rank of a live attempt as its daemon described it.
struct RankLive {
  bool reported = false;
  uint64_t listed_sequence = 0;  // of the last sync whose answer listed the rank
  v1::RankReport report;
};

struct AttemptLive {
  uint64_t epoch = 0;
  std::vector<RankLive> ranks;
  int64_t since_ms = 0;       // monotonic: first seen by this process
  int64_t ran_before_ms = 0;  // how long it had run then
  int64_t change_ms = 0;      // monotonic: something was heard of it that differs from before
  int64_t offered_ms = -1;    // monotonic: since when workers are told of it; -1: its job's folder is not there yet
  int64_t stop_ms = -1;       // monotonic: when the order to stop was given
  int64_t success_ms = -1;    // monotonic: when its first rank ended with success
  bool rendezvous_complete = false;

  int64_t seen_ms(int64_t mono_ms) const { return mono_ms - since_ms; }
  // How long it has run; a calendar clock that jumps meanwhile changes nothing.
  int64_t ran_ms(int64_t mono_ms) const { return ran_before_ms + mono_ms - since_ms; }
};

struct Fleet {
  std::map<std::string, WorkerLive> workers;
  std::map<std::string, AttemptLive> attempts;  // by job id; only live ones
  std::map<uint64_t, int64_t> holds;            // monotonic: since when slots are held for the job of this number
};

}  // namespace galleon::server
