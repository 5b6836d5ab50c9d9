// Preconditions that only a bug can violate. A failed check prints the condition, the place and what is streamed into
// it, then aborts. Bad input of a user is never a check: it is an absl::Status.
#pragma once

#include <sstream>

namespace galleon::internal {

// Collects the message of a failed check and aborts when it goes out of scope.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Turns the stream expression into void, so that both arms of the conditional have one type.
struct Voidify {
  void operator&(std::ostream&) const {}
};

}  // namespace galleon::internal

#define GALLEON_CHECK(condition)     \
  __builtin_expect(!!(condition), 1) \
      ? (void)0                      \
      : ::galleon::internal::Voidify() & ::galleon::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()

#define GALLEON_CHECK_EQ(a, b) GALLEON_CHECK((a) == (b)) << "(" << (a) << " against " << (b) << ") "
