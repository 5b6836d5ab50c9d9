#include "server/core/wait.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace galleon::server {

namespace {

// "about 40 s", "about 12 min", "about 5 h".
std::string about(int64_t ms) {
  const int64_t seconds = std::max<int64_t>(1, ms / 1000);
  if (seconds < 120) return absl::StrCat("about ", seconds, " s");
  if (seconds < 7200) return absl::StrCat("about ", seconds / 60, " min");
  return absl::StrCat("about ", seconds / 3600, " h");
}

std::string needs(const Demand& demand, const Wait& wait) {
  return absl::StrCat("needs ", demand_text(demand), ", ", wait.free, " free on ", count_text(wait.workers, "worker"));
}

std::string reason(const Demand& demand, const Wait& wait, int64_t now_ms) {
  switch (wait.kind) {
    case Wait::Kind::kNoWorkers:
      return absl::StrCat("needs ", demand_text(demand), ", no worker is registered");
    case Wait::Kind::kNeverFits: {
      std::string offer = "no slot of that kind";
      if (wait.largest_bytes > 0) {
        offer = absl::StrCat(count_text(wait.fitting, "slot"), " of that size, the largest of ",
                             bytes_text(wait.largest_bytes));
      }
      return absl::StrCat("can never fit the fleet as it is: needs ", demand_text(demand), "; ",
                          count_text(wait.workers, "worker"), ", even all idle, ", wait.workers == 1 ? "has " : "have ",
                          offer);
    }
    case Wait::Kind::kClosed:
      return absl::StrCat("needs ", demand_text(demand), "; of ", count_text(wait.fitting, "slot"),
                          " of that size only ", wait.open, wait.open == 1 ? " is" : " are",
                          " on workers that take new work, the others' are cordoned or drained");
    case Wait::Kind::kSlots:
      return needs(demand, wait);
    case Wait::Kind::kAhead:
      return absl::StrCat(
          needs(demand, wait), " but kept for ",
          wait.name.empty() ? std::string("a job ahead of it") : absl::StrCat(wait.name, " ahead of it"));
    case Wait::Kind::kBackoff:
      return absl::StrCat("tries again in ", std::max<int64_t>(0, wait.until_ms - now_ms + 999) / 1000, " s");
    case Wait::Kind::kDependency:
      return absl::StrCat("waits for ", wait.name);
    case Wait::Kind::kHeld:
      return absl::StrCat("is held", wait.name.empty() ? "" : ": ", wait.name, "; galleon release lets it start");
    case Wait::Kind::kLimit:
      if (demand.ranks() > wait.limit) {
        return absl::StrCat("needs ", demand_text(demand), ", but queue ", wait.name, " may use ",
                            count_text(wait.limit, "slot"),
                            " at most; galleon reprioritize --queue moves the job to another");
      }
      return absl::StrCat("needs ", demand_text(demand), ", but queue ", wait.name, " uses ", wait.used, " of the ",
                          count_text(wait.limit, "slot"), " that it may");
    case Wait::Kind::kUserLimit:
      return absl::StrCat("needs ", demand_text(demand), ", but ", wait.user.empty() ? "everybody together" : wait.user,
                          " uses ", wait.used, " of the ", count_text(wait.limit, "slot"), " that a user may in queue ",
                          wait.name,
                          demand.ranks() > wait.limit ? "; galleon reprioritize --queue moves the job to another" : "");
    case Wait::Kind::kQuota:
      return wait.name;
    case Wait::Kind::kGuaranteed:
      return absl::StrCat(needs(demand, wait),
                          "; as it is not preemptible, it cannot borrow what is guaranteed to other queues");
    case Wait::Kind::kFixed:
      return absl::StrCat(needs(demand, wait), "; as it is not preemptible, it waits until ",
                          count_text(wait.used, "slot"), " of other jobs that are not preemptible ",
                          wait.used == 1 ? "is" : "are", " released, for the rest is guaranteed to other queues");
    case Wait::Kind::kMakingRoom:
      return absl::StrCat("needs ", demand_text(demand), "; ", count_text(wait.used, "slot"),
                          " of jobs that make room ", wait.used == 1 ? "is" : "are", " still to be released");
    case Wait::Kind::kGroup:
      return absl::StrCat("needs ", demand_text(demand), ", but ", wait.used, " of the ", count_text(wait.limit, "job"),
                          " of ", wait.name, " that may run at a time ", wait.used == 1 ? "does" : "do",
                          " (max_running)");
    case Wait::Kind::kRung:
      return absl::StrCat("has reached step ", wait.step, ", where the worse half of ", wait.name,
                          " ends, and lets the others reach it");
    case Wait::Kind::kNoQueue:
      return absl::StrCat("its queue ", wait.name, " is not configured any more, and it stays in ",
                          wait.project.empty() ? std::string("no project") : absl::StrCat("project ", wait.project),
                          "; galleon reprioritize --queue moves the job to another");
    case Wait::Kind::kPassFull:
      return "is looked at next; many jobs start at this moment";
  }
  return "";
}

}  // namespace

bool waits_for_slots(Wait::Kind kind) {
  return kind == Wait::Kind::kSlots || kind == Wait::Kind::kAhead || kind == Wait::Kind::kFixed ||
         kind == Wait::Kind::kMakingRoom;
}

std::string wait_message(const Demand& demand, const Wait& wait, int64_t now_ms) {
  std::string text = absl::StrCat("position ", wait.position, " of ", wait.queued, "; ", reason(demand, wait, now_ms));
  if (wait.turn != nullptr) absl::StrAppend(&text, "; ", *wait.turn);
  if (wait.avoided > 0) {
    absl::StrAppend(&text, "; it is kept from ", count_text(wait.avoided, "worker"),
                    " where it could not run, as others could hold it");
  }
  if (wait.spared_ms > 0) {
    absl::StrAppend(&text, "; who would make room for it has made room before and is spared for ",
                    about(wait.spared_ms), " more");
  }
  if (wait.estimate_ms > 0)
    absl::StrAppend(&text, "; expected to start in ", about(std::max<int64_t>(0, wait.estimate_ms - now_ms)));
  return text;
}

std::string what_fits(const Demand& demand, uint32_t fitting, uint32_t matching, uint64_t largest_bytes) {
  if (matching == 0) return "no slot of the fleet is of that device with those labels";
  std::string text;
  if (fitting > 0) text = absl::StrCat(count_text(fitting, "rank"), " of that size would fit");
  if (demand.largest() > largest_bytes) {
    absl::StrAppend(&text, text.empty() ? "" : ", and ", "up to ",
                    count_text(std::min(demand.ranks(), matching), "rank"), " of at most ", bytes_text(largest_bytes),
                    " would");
  }
  return text;
}

}  // namespace galleon::server
