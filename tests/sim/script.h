// What happens to a simulated cluster from outside: users, operators, faults. Made from a seed; shorter scripts can be
// made from it by leaving things out, until what fails fails for as few reasons as possible.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/core/queues.h"

namespace galleon::server {

struct Step {
  enum class Kind {
    kSubmit,
    kCancel,
    kReprioritize,
    kOrder,        // cordon, drain or undrain a worker
    kSleep,        // the daemon is stopped, or a partition
    kFreeze,       // the machine with all that runs on it stops, and goes on later as if nothing had been
    kRestart,      // the daemon is killed and comes back; its trainers live on
    kPowerOff,     // the machine is switched off and on
    kKill,         // trainers are killed from outside
    kFail,         // trainers fail by themselves
    kBreak,        // for a while nothing can run on the machine, or not everything
    kLeave,        // the daemon begins to shut down, or changes its mind
    kCrash,        // the scheduler dies before or after a commit
    kReconfigure,  // a queue is taken out, put back, or given to another project
    kClockJump,    // the calendar clock of the scheduler jumps
    kHold,         // a job is held, with or without its slots, or released
    kRequeue,
    kResume,
    kDelete,
    kSweep,     // several jobs are submitted together
    kHang,      // the scheduler that writes stops for a while
    kTakeover,  // it hangs for longer than its lease while a commit is under way
  };
  Kind kind = Kind::kSubmit;
  int64_t time_ms = 0;
  uint64_t seed = 0;    // for what the step chooses
  uint64_t commit = 0;  // kCrash and kTakeover: the number of the commit
  bool after = false;   // kCrash and kTakeover: after it rather than before
  std::string text() const;
};

// Users who always have jobs of one kind waiting, more than the fleet can run, until they stop.
struct Stream {
  size_t queue = 0;
  uint32_t ranks = 1;
  bool preemptible = true;
  uint64_t steps = 0;    // that its jobs take more than the shortest
  int64_t pause_ms = 0;  // it comes and goes at such intervals; 0: it stays
  std::string user = {};
};

struct Script {
  uint64_t seed = 0;            // of the network's and the trainers' choices
  std::vector<uint32_t> slots;  // of each machine
  std::vector<QueueConfig> queues;
  // Probabilities of each message.
  double lost = 0.05;
  double doubled = 0.05;
  double late = 0.05;
  double no_folder = 0.03;  // attempts whose job's folder cannot be made
  std::vector<Step> steps;
  std::vector<Stream> streams;
  bool stands_by = false;  // a second scheduler does, on the same store

  uint32_t total_slots() const;
  bool runs_long() const;  // its streams' jobs do
  std::string text() const;
};

Script make_script(uint64_t seed);
// The same with a second scheduler, and a first that hangs.
Script make_takeovers(uint64_t seed);
// Nothing fails, but there is always more to run than the fleet holds: whoever fits has to start all the same.
Script make_crowd(uint64_t seed);

// The shortest script found for which `fails` still holds, in at most `tries` runs of it.
template <typename Fails>
Script shrink(Script script, const Fails& fails, int tries = 5000) {
  // What is left out changes what the network does to the rest: a few other courses are tried too.
  const auto attempt = [&](Script shorter) {
    for (uint64_t course = 0; course < 16; ++course) {
      if (tries-- <= 0) return false;
      if (fails(shorter)) {
        script = std::move(shorter);
        return true;
      }
      ++shorter.seed;
    }
    return false;
  };
  for (double Script::*chance : {&Script::lost, &Script::doubled, &Script::late, &Script::no_folder}) {
    Script quieter = script;
    quieter.*chance = 0;
    attempt(std::move(quieter));
  }
  bool progress = true;
  while (progress && tries > 0) {
    progress = false;
    // An earlier crash needs less to happen before it.
    for (size_t i = 0; i < script.steps.size(); ++i) {
      for (const uint64_t divisor : {16, 4, 2}) {
        if (script.steps[i].kind != Step::Kind::kCrash || script.steps[i].commit < divisor) continue;
        Script earlier = script;
        earlier.steps[i].commit /= divisor;
        progress |= attempt(std::move(earlier));
      }
    }
    for (size_t size = std::max<size_t>(1, script.steps.size() / 2); size >= 1; size /= 2) {
      for (size_t first = 0; first < script.steps.size();) {
        Script shorter = script;
        const auto begin = shorter.steps.begin() + static_cast<int64_t>(first);
        shorter.steps.erase(begin, begin + static_cast<int64_t>(std::min(size, shorter.steps.size() - first)));
        if (attempt(std::move(shorter))) {
          progress = true;
        } else {
          first += size;
        }
      }
    }
  }
  return script;
}

}  // namespace galleon::server
