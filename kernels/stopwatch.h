// How long a device works on what is asked of it: where the host does not wait for its operations, the host's clock
// says how long it took to ask.
#pragma once

namespace galleon {

class Stopwatch {
 public:
  virtual ~Stopwatch() = default;
  virtual void start() = 0;
  virtual void stop() = 0;
  // Seconds of all intervals since the last call; waits for the end of the last one.
  virtual double take() = 0;
};

// One interval, for the lifetime of this object.
class Interval {
 public:
  explicit Interval(Stopwatch& stopwatch) : stopwatch_(stopwatch) { stopwatch_.start(); }
  ~Interval() { stopwatch_.stop(); }
  Interval(const Interval&) = delete;
  Interval& operator=(const Interval&) = delete;

 private:
  Stopwatch& stopwatch_;
};

}  // namespace galleon
