// The figures of the scheduler, each measured by a function that returns what it found.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "galleon/v1/jobs.pb.h"
#include "galleon/v1/workers.pb.h"

namespace galleon::bench {

using Json = nlohmann::json;

// A folder on this disk, removed with everything in it.
struct Folder {
  std::string path;
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
};

v1::Job job_named(const std::string& name, uint32_t ranks = 1);
v1::MemoryPlan plan_of(uint32_t ranks, uint64_t bytes);
v1::Worker worker_named(int number, uint32_t slots);

// `in_flight` calls at all times over one channel with a client's certificate, each answered when it is durable, behind
// `queued` jobs that are there already. `store`: a database without tables; empty: SQLite.
Json submits(double seconds, int in_flight, int queued, const std::string& store);
// The time of one pass while all slots are taken and `jobs` of many sizes wait.
Json decision_pass(int jobs, int workers);
// One-slot jobs that start and end at once: reserved, taken up, finished and released through the core and the journal.
Json dispatches(int workers, double seconds);
// From a file or a database that is to be opened to a scheduler that can decide, with half of the jobs in the snapshot
// and half in events. `store` as above.
Json recovery(int jobs, const std::string& store);
// The processor time that `scheduler` (the executable) uses while `workers` daemons, each with a connection and a
// certificate, renew their leases, and whether one of them ever came close to losing it.
Json heartbeats(const std::string& scheduler, int workers, double seconds);
// Makes `folder` a scheduler's data folder in which so many jobs have ended, the last of them at `end_ms`.
void fill_ended(const std::string& folder, int jobs, int64_t end_ms);
// `planner` becomes a program that plans every job alike.
void write_planner(const std::string& planner);
// What callers of the scheduler at `address` see: so many submits, cancels of all of them, and lists beside a worker.
Json load(const std::string& address, int submits, int lists);

}  // namespace galleon::bench
