// The jobs of one queue in the order in which they are offered slots. Higher priority comes first. Among equals the
// older comes first or, where users take turns, first who waits for long at the head of the queue, then the user who
// uses least for its weight: slots now and, on average, lately. Each job that is offered slots counts for its user as
// if it had got them, so that users alternate also where nothing is free.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/core/queues.h"

namespace galleon::server {

struct QueuedJob;

// A user in a queue whose users take turns, or may hold so many slots.
struct UserShare {
  const std::string* name = nullptr;
  size_t queue = 0;
  double weight = 1;
  double recent = 0;   // slots that it has held on average, lately
  uint32_t limit = 0;  // slots at most; 0: no limit
  uint32_t used = 0;   // slots now

  bool within_limit(uint32_t ranks) const { return limit == 0 || used + ranks <= limit; }
};

constexpr int64_t kNoUser = -1;

class Line {
 public:
  // Indices of jobs, in their order within the queue; then open() once.
  void add(size_t job, int64_t user);
  void open(bool take_turns, const std::vector<QueuedJob>& queued, const std::vector<UserShare>& users);

  bool empty() const { return heap_.empty(); }
  size_t next() const { return heap_.front().job; }
  // The next one; say what became of it before anything else: `counts` if it got slots, or waits for some.
  size_t take();
  void served(bool counts);
  // All that are left, in their order.
  std::vector<size_t> take_all();
  // After served(): the other jobs of the same user, which are taken out.
  std::vector<size_t> take_all_of_user();

  // All that were taken, in that order.
  const std::vector<size_t>& order() const { return order_; }

  size_t head = 0;       // of its jobs: waits for slots
  bool blocked = false;  // there is a head
  bool closed = false;   // none of the others can start

 private:
  struct Turn {
    size_t job;  // the next of this user
    size_t user;
    int32_t priority;
    bool overdue;
    double load;
    uint64_t number;
  };
  struct User {
    std::vector<size_t> jobs;
    size_t next = 0;
    double load = 0;
    double weight = 1;
  };
  static bool comes_after(const Turn& a, const Turn& b);
  void push(size_t user);

  bool take_turns_ = false;
  const std::vector<QueuedJob>* queued_ = nullptr;
  std::vector<User> users_;
  std::map<int64_t, size_t> index_;
  std::vector<Turn> heap_;
  std::vector<size_t> order_;
  size_t taken_user_ = 0;
};

struct PassInput;
struct PassResult;
struct Wait;
// Where users take turns: gives each job that does not start its place in its line, those last whose user may not hold
// more, and the words that say whose turn it is.
void tell_turns(const std::vector<Line>& lines, const PassInput& input, const std::vector<bool>& starts,
                PassResult& result);
// What a job waits for whose user holds all that it may.
void tell_limit(const UserShare& user, const QueueUse& queue, Wait& wait);

}  // namespace galleon::server
