#include "server/core/pass.h"

#include <algorithm>
#include <unordered_map>

#include "server/core/estimate.h"
#include "server/core/placement.h"

namespace galleon::server {

namespace {

// Heads whose certain start is worked out; those after them keep their slots for ever, which is more careful.
constexpr size_t kMostHeads = 32;

class Pass {
 public:
  explicit Pass(PassInput input) : in_(std::move(input)), board_(std::move(in_.board)) {}

  PassResult run() {
    prepare();
    serve_heads();
    backfill();
    tell_turns(lines_, in_, starts_, out_);
    estimate();
    return std::move(out_);
  }

 private:
  // A demand for which there was not enough; whoever asks for no less of the same family gets none either.
  struct Refusal {
    uint32_t ranks = 0;
    uint64_t bytes = 0;
    int64_t ends_by = 0;
  };

  void prepare() {
    out_.waits.resize(in_.queued.size());
    starts_.resize(in_.queued.size());
    lines_.resize(in_.queues.size());
    for (QueueUse& queue : in_.queues) queue.used = queue.fixed = 0;
    for (const RunningJob& job : in_.running) {
      QueueUse& queue = in_.queues[job.queue];
      queue.used += job.slots;
      if (!job.preemptible) queue.fixed += job.slots;
      if (job.user != kNoUser) user(job.user).used += job.slots;
    }
    for (const SlotBoard::Cell& cell : board_.cells()) total_ += cell.healthy;
    for (size_t i = 0; i < in_.queued.size(); ++i) {
      lines_[in_.queued[i].queue].add(i, in_.queued[i].user);
      for (const uint32_t cell : in_.queued[i].held) hold(cell, i);
    }
    for (size_t q = 0; q < lines_.size(); ++q)
      lines_[q].open(in_.queues[q].config.half_life_ms > 0, in_.queued, in_.users);
  }

  UserShare& user(int64_t index) { return in_.users[static_cast<size_t>(index)]; }

  // The queue whose turn it is among those that have somebody to offer; -1: none.
  int64_t next_queue(bool heads_only) const {
    int64_t best = -1;
    for (size_t q = 0; q < lines_.size(); ++q) {
      const Line& line = lines_[q];
      if (line.empty() || line.closed || (heads_only && line.blocked)) continue;
      const size_t other = static_cast<size_t>(best);
      if (best < 0 || comes_before(in_.queues[q], next_of(q), in_.queues[other], next_of(other)))
        best = static_cast<int64_t>(q);
    }
    return best;
  }

  NextJob next_of(size_t queue) const {
    const QueuedJob& job = in_.queued[lines_[queue].next()];
    return {job.demand->ranks(), job.number, job.overdue};
  }

  void serve_heads() {
    for (int64_t q = next_queue(true); q >= 0; q = next_queue(true)) {
      Line& line = lines_[static_cast<size_t>(q)];
      const size_t job = serve_next(line);
      if (starts_[job]) continue;
      const Wait::Kind kind = out_.waits[job].kind;
      if (kind == Wait::Kind::kLimit && out_.waits[job].limit >= in_.queued[job].demand->ranks()) {
        // Whatever came behind it would only take what it waits for.
        line.closed = true;
        for (const size_t other : line.take_all()) refuse(other, Wait::Kind::kLimit);
      } else if (waits_for_slots(kind)) {
        line.blocked = true;
        line.head = job;
        if (kind == Wait::Kind::kMakingRoom) continue;
        if (beyond(job) > 0 || in_.queued[job].patient || !make_room(job)) keep(job);
        QueueUse& queue = in_.queues[in_.queued[job].queue];
        if (!in_.queued[job].preemptible) queue.due += in_.queued[job].demand->ranks();
      }
    }
  }

  void backfill() {
    for (int64_t q = next_queue(false); q >= 0; q = next_queue(false)) serve_next(lines_[static_cast<size_t>(q)]);
  }

  // Offers slots to the next job of a queue, and returns it.
  size_t serve_next(Line& line) {
    const size_t job = line.take();
    const Wait& wait = out_.waits[job];
    line.served(offer(job) || waits_for_slots(wait.kind));
    // As with a queue: what its user has behind it would only take what it waits for.
    if (!starts_[job] && wait.kind == Wait::Kind::kUserLimit && wait.limit >= in_.queued[job].demand->ranks())
      for (const size_t other : line.take_all_of_user()) refuse(other, Wait::Kind::kUserLimit);
    return job;
  }

  // So many slots too many for what the other queues are guaranteed, if the job started.
  uint32_t beyond(size_t index) const {
    const QueuedJob& job = in_.queued[index];
    return job.preemptible ? 0 : beyond_guarantees(in_.queues, job.queue, job.demand->ranks(), total_);
  }

  // Starts the job if it can; else says why not.
  bool offer(size_t index) {
    const QueuedJob& job = in_.queued[index];
    QueueUse& queue = in_.queues[job.queue];
    if (!queue.configured) return refuse(index, Wait::Kind::kNoQueue);
    const Asked asked = figures(index);
    const SlotBoard::Family& slots = board_.at(asked.family);
    const Wait& wait = out_.waits[index];
    if (board_.workers().empty()) return refuse(index, Wait::Kind::kNoWorkers);
    const bool fits = asked.even ? wait.fitting >= asked.ranks : board_.hold(slots.cells, job.demand->descending());
    if (!fits) return refuse(index, Wait::Kind::kNeverFits);
    if (!queue.within_limit(asked.ranks)) return refuse(index, Wait::Kind::kLimit);
    if (group_is_full(job)) return refuse(index, Wait::Kind::kGroup);
    if (job.user != kNoUser && !user(job.user).within_limit(asked.ranks)) return refuse(index, Wait::Kind::kUserLimit);
    if (!job.preemptible && always_beyond_guarantees(in_.queues, job.queue, asked.ranks, total_))
      return refuse(index, Wait::Kind::kGuaranteed);
    const bool open = asked.even ? wait.open >= asked.ranks : board_.hold(slots.open, job.demand->descending());
    if (!open && !job.waits_for_room) return refuse(index, Wait::Kind::kClosed);
    const Wait::Kind unavailable = job.waits_for_room        ? Wait::Kind::kMakingRoom
                                   : wait.free < asked.ranks ? Wait::Kind::kSlots
                                                             : Wait::Kind::kAhead;
    if (beyond(index) > 0) return refuse(index, unavailable == Wait::Kind::kAhead ? Wait::Kind::kFixed : unavailable);
    if (out_.starts.size() >= in_.most_starts) {
      out_.more = true;
      return refuse(index, Wait::Kind::kPassFull);
    }
    // Slots are only taken, held and kept during a pass, so that too few free ones stay too few.
    if (wait.free < asked.ranks || refused_before(asked, job)) return refuse(index, unavailable);
    const Cells cells = choose_cells(board_, usable(index, slots), *job.demand);
    if (cells.empty()) {
      if (!job.waits_for_room && asked.even && wait.avoided == 0)
        refusals_[asked.family] = {asked.ranks, asked.smallest, ends_by(job)};
      return refuse(index, unavailable);
    }
    PassResult::Start& start = out_.starts.emplace_back();
    start.queued = index;
    for (const uint32_t cell : cells) {
      start.places.push_back(board_.place(cell));
      board_.take(cell);
    }
    queue.used += asked.ranks;
    if (!job.preemptible) queue.fixed += asked.ranks;
    if (job.group && !job.waits_for_room) ++in_.groups[*job.group].running;
    if (job.user != kNoUser) user(job.user).used += asked.ranks;
    started_.push_back({index, cells});
    starts_[index] = true;
    return true;
  }

  // One for which slots are held counts already.
  bool group_is_full(const QueuedJob& job) const {
    return job.group && !job.waits_for_room && in_.groups[*job.group].running >= in_.groups[*job.group].most;
  }

  bool refuse(size_t index, Wait::Kind kind) {
    Wait& wait = out_.waits[index];
    wait.kind = kind;
    if (kind == Wait::Kind::kGroup) in_.groups[*in_.queued[index].group].tell(wait);
    const QueueUse& queue = in_.queues[in_.queued[index].queue];
    if (kind == Wait::Kind::kLimit || kind == Wait::Kind::kNoQueue) wait.name = queue.config.id;
    if (kind == Wait::Kind::kLimit) {
      wait.used = queue.used;
      wait.limit = queue.config.limit;
    }
    if (kind == Wait::Kind::kUserLimit) tell_limit(user(in_.queued[index].user), queue, wait);
    if (kind == Wait::Kind::kAhead) name_keeper(index);
    if (kind == Wait::Kind::kFixed) {
      wait.used = beyond(index);
      // What is due to the queue's own first job is kept for that one, whatever others hold.
      const Line& line = lines_[in_.queued[index].queue];
      if (line.blocked && queue.due > 0 && wait.used <= queue.due) {
        wait.kind = Wait::Kind::kAhead;
        wait.name = name_for(line.head, in_.queued[index]);
      }
    }
    if (kind == Wait::Kind::kMakingRoom) {
      for (const uint32_t cell : in_.queued[index].held) wait.used += !board_.cells()[cell].free;
    }
    return false;
  }

  // Jobs of another project's queue are nobody's business here.
  std::string name_for(size_t index, const QueuedJob& job) const {
    const QueueConfig& queue = in_.queues[in_.queued[index].queue].config;
    if (queue.project != in_.queues[job.queue].config.project) return "a job of queue " + queue.id;
    return "jobs/" + *in_.queued[index].job_id;
  }

  // For whom a slot that the job could use is kept. Where none is, those that are free are too small for its largest
  // ranks.
  void name_keeper(size_t index) {
    const QueuedJob& job = in_.queued[index];
    Wait& wait = out_.waits[index];
    for (const uint32_t cell : board_.at(board_.family(*job.demand)).free) {
      if (board_.cells()[cell].bytes < job.demand->smallest()) break;
      if (board_.usable(board_.cells()[cell], job.number, ends_by(job))) continue;
      if (const auto keeper = keepers_.find(cell); keeper != keepers_.end()) wait.name = name_for(keeper->second, job);
      return;
    }
    wait.kind = Wait::Kind::kSlots;
  }

  // A demand's figures, looked up once.
  struct Asked {
    size_t family = 0;
    uint32_t ranks = 0;
    uint64_t smallest = 0;
    bool even = false;  // all ranks are of one size
  };

  // What the job asks for; the wait is given what its reason will say.
  Asked figures(size_t index) {
    const Demand& demand = *in_.queued[index].demand;
    Asked asked{board_.family(demand), demand.ranks(), demand.smallest(), false};
    asked.even = asked.smallest == demand.largest();
    out_.waits[index].avoided = avoided(index);
    const SlotBoard::Family& slots = board_.at(asked.family);
    if (refusals_.size() <= asked.family) refusals_.resize(asked.family + 1);
    Wait& wait = out_.waits[index];
    wait.workers = static_cast<uint32_t>(board_.workers().size());
    wait.fitting = SlotBoard::fitting(slots.sizes, asked.smallest);
    wait.free = SlotBoard::fitting(slots.free_sizes, asked.smallest);
    wait.open = static_cast<uint32_t>(board_.fitting(slots.open, asked.smallest));
    wait.largest_bytes = slots.sizes.empty() ? 0 : slots.sizes[0].bytes;
    return asked;
  }

  // How many workers the job is kept from: those where it could not run, as long as the others could hold it.
  uint32_t avoided(size_t index) {
    const QueuedJob& job = in_.queued[index];
    if (job.avoided.empty()) return 0;
    Cells others = board_.at(board_.family(*job.demand)).open;
    std::erase_if(others, [&](uint32_t cell) { return is_avoided(job, cell); });
    return board_.hold(others, job.demand->descending()) ? static_cast<uint32_t>(job.avoided.size()) : 0;
  }
  bool is_avoided(const QueuedJob& job, uint32_t cell) const {
    return std::find(job.avoided.begin(), job.avoided.end(), board_.cells()[cell].worker) != job.avoided.end();
  }
  bool keeps_from(size_t index, uint32_t cell) const {
    return out_.waits[index].avoided > 0 && is_avoided(in_.queued[index], cell);
  }

  int64_t ends_by(const QueuedJob& job) const { return job.limit_ms == kNever ? kNever : in_.now_ms + job.limit_ms; }

  bool refused_before(const Asked& asked, const QueuedJob& job) const {
    const Refusal& refusal = refusals_[asked.family];
    return refusal.ranks != 0 && !job.waits_for_room && asked.ranks >= refusal.ranks &&
           asked.smallest >= refusal.bytes && ends_by(job) >= refusal.ends_by;
  }

  Cells usable(size_t index, const SlotBoard::Family& slots) const {
    const QueuedJob& job = in_.queued[index];
    Cells cells;
    const uint64_t smallest = job.demand->smallest();
    for (const uint32_t cell : slots.free) {
      if (board_.cells()[cell].bytes < smallest) break;
      if (board_.usable(board_.cells()[cell], job.number, ends_by(job)) && !keeps_from(index, cell))
        cells.push_back(cell);
    }
    return cells;
  }

  // Lets others make room for a head. True: slots are held for it from now on.
  bool make_room(size_t index) {
    const QueuedJob& job = in_.queued[index];
    Cells available = usable(index, board_.at(board_.family(*job.demand)));
    // What is being released anyway is waited for rather than added to.
    for (const RunningJob& running : in_.running) {
      if (!running.stopping || avoids(index, running)) continue;
      for (const uint32_t cell : running.cells) {
        const SlotBoard::Cell& seen = board_.cells()[cell];
        if (seen.holder == 0 && seen.healthy && seen.open) available.push_back(cell);
      }
    }
    available = accepted(*job.demand, std::move(available));
    const Claim claim{job.number, job.queue, job.priority};
    std::vector<RunningJob> near;
    if (out_.waits[index].avoided > 0) {
      near = in_.running;
      for (RunningJob& running : near) running.preemptible = running.preemptible && !avoids(index, running);
    }
    const std::vector<RunningJob>& others = near.empty() ? in_.running : near;
    const std::vector<size_t> victims = choose_victims(board_, *job.demand, claim, available, others, in_.queues);
    if (victims.empty()) {
      out_.waits[index].spared_ms = spared_for(board_, *job.demand, claim, available, others, in_.queues);
      return false;
    }
    for (const size_t victim : victims)
      available.insert(available.end(), in_.running[victim].cells.begin(), in_.running[victim].cells.end());
    const Cells cells = choose_cells(board_, accepted(*job.demand, std::move(available)), *job.demand);
    if (cells.empty()) return false;
    PassResult::Preemption& preemption = out_.preemptions.emplace_back();
    preemption.queued = index;
    preemption.victims = victims;
    for (const uint32_t cell : cells) {
      preemption.places.push_back(board_.place(cell));
      hold(cell, index);
      out_.waits[index].used += !board_.cells()[cell].free;
    }
    for (const size_t victim : victims) in_.running[victim].stopping = true;
    if (job.group) ++in_.groups[*job.group].running;
    out_.waits[index].kind = Wait::Kind::kMakingRoom;
    return true;
  }

  // Does it hold slots where the job could not run?
  bool avoids(size_t index, const RunningJob& running) const {
    return std::any_of(running.cells.begin(), running.cells.end(),
                       [&](uint32_t cell) { return keeps_from(index, cell); });
  }

  // Those of the cells that the demand's family has, the largest first, each once.
  Cells accepted(const Demand& demand, Cells cells) {
    std::sort(cells.begin(), cells.end());
    Cells ordered;
    for (const uint32_t cell : board_.at(board_.family(demand)).cells) {
      if (std::binary_search(cells.begin(), cells.end(), cell)) ordered.push_back(cell);
    }
    return ordered;
  }

  void keep(size_t index) {
    const QueuedJob& job = in_.queued[index];
    const SlotBoard::Family& slots = board_.at(board_.family(*job.demand));
    const int64_t until =
        heads_++ < kMostHeads ? certain_start(board_, *job.demand, job.number, in_.now_ms, in_.running) : kNever;
    const uint64_t smallest = job.demand->smallest();
    for (const uint32_t cell : slots.free) {
      if (board_.cells()[cell].bytes < smallest) break;
      if (keeps_from(index, cell)) continue;
      // A start that nobody can tell leaves no time to use the slot before it.
      board_.keep(cell, until == kNever ? 0 : until);
      keepers_.emplace(cell, index);
    }
    out_.heads.push_back(index);
  }

  void hold(uint32_t cell, size_t index) {
    board_.hold_for(cell, in_.queued[index].number);
    keepers_[cell] = index;
  }

  // The last step, as it uses up the figures.
  void estimate() {
    StartEstimates estimates(board_, in_.now_ms, with_started());
    size_t told = 0;
    for (const Line& line : lines_) {
      for (const size_t index : line.order()) {
        if (told == in_.most_estimates) break;
        if (starts_[index] || !waits_for_slots(out_.waits[index].kind)) continue;
        const int64_t start = estimates.start(board_, *in_.queued[index].demand, in_.queued[index].limit_ms);
        if (start != kNever) out_.waits[index].estimate_ms = start;
        ++told;
      }
    }
  }

  std::vector<RunningJob> with_started() {
    for (Started& started : started_) {
      RunningJob& job = in_.running.emplace_back();
      job.cells = std::move(started.cells);
      job.ends_by_ms = ends_by(in_.queued[started.index]);
    }
    return std::move(in_.running);
  }

  struct Started {
    size_t index;
    Cells cells;
  };

  PassInput in_;
  SlotBoard board_;
  PassResult out_;
  std::vector<Line> lines_;
  std::vector<Refusal> refusals_;                 // by family
  std::unordered_map<uint32_t, size_t> keepers_;  // by cell: the job for which it is kept or held
  std::vector<Started> started_;
  std::vector<bool> starts_;  // by index into queued
  uint32_t total_ = 0;
  size_t heads_ = 0;
};

}  // namespace

PassResult decide(PassInput input) {
  return Pass(std::move(input)).run();
}

}  // namespace galleon::server
