// Tells receivers what happens. What was told is in the journal, so that after a restart nobody misses anything; what
// was not yet known to have been told is told again.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/core/scheduler.h"
#include "server/notify/receiver.h"

namespace galleon::server {

class Notifier {
 public:
  struct Options {
    const Clock* clock = nullptr;
    // From any thread.
    std::function<void(const std::string& receiver, SendResult)> counted;
    Receiver::Options sending;
  };
  explicit Notifier(Options options) : options_(std::move(options)) {}
  ~Notifier();

  // On the loop's thread, as all that follows. Receivers of the same name and words go on as they were. Those that are
  // gone are handed back: their threads end with them, which may take a moment that the loop has not.
  std::vector<std::unique_ptr<Receiver>> replace(NotifyConfig config);
  // After each commit: fills boxes, and notes in the scheduler who has been told what.
  void feed(Scheduler& scheduler, Now now);
  const NotifyConfig& config() const { return config_; }
  // Seconds that each receiver is behind.
  std::map<std::string, double> behind() const;

 private:
  struct Told {
    std::unique_ptr<Receiver> receiver;
    bool known = false;   // what follows is that of the scheduler's state, or newer
    uint64_t read = 0;    // everything up to here is in its box, or of no interest
    uint64_t number = 0;  // of the newest that was put there
  };
  void begin(Scheduler& scheduler, Now now, const std::string& name, Told& told, uint64_t committed);
  void note(Scheduler& scheduler, Now now, const std::string& name, const Told& told, uint64_t committed);
  void fill(const Scheduler& scheduler, Now now, Told& told, uint64_t committed);

  const Options options_;
  NotifyConfig config_;
  std::map<std::string, Told> receivers_;
};

}  // namespace galleon::server
