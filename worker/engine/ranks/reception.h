// Receives the callers of a listener, all at once: who says nothing, or nonsense, holds nobody else up.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "common/base/files.h"

namespace galleon {

// A caller who has shown that he knows the secret.
struct Caller {
  FileDescriptor socket;  // non-blocking
  int rank = -1;
  std::string text;  // where texts are wanted: the one that follows the greeting
};

class Reception {
 public:
  // `listener` outlives it. `secret_of`: by the rank that a caller claims; empty: nobody is expected under it.
  Reception(int listener, std::function<std::string(int)> secret_of, bool wants_text);
  ~Reception();
  Reception(const Reception&) = delete;
  Reception& operator=(const Reception&) = delete;

  // The next caller; nullopt: nobody by `deadline`.
  std::optional<Caller> next(absl::Time deadline);

 private:
  struct Guest;
  void accept_guests();
  enum class Progress { kWaits, kDone, kLeaves };
  Progress hear(Guest& guest);
  Progress take(Guest& guest);
  Progress take_hello(Guest& guest);

  int listener_;
  std::function<std::string(int)> secret_of_;
  bool wants_text_;
  std::list<Guest> guests_;  // the oldest first
};

}  // namespace galleon
