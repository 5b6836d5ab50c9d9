// Any bytes from whoever calls at the port of ranks: no stranger is taken for a rank, and nothing else happens. The
// secret is not in any seed.
#include <sys/socket.h>

#include <optional>

#include "absl/time/clock.h"
#include "worker/engine/ranks/greeting.h"
#include "worker/engine/ranks/reception.h"
#include "worker/engine/ranks/rendezvous.h"
#include "worker/engine/ranks/sockets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<galleon::RankOffer> offer = galleon::decode_offer(text);
  if (offer.ok() && !galleon::decode_offer(galleon::encode_offer(*offer)).ok()) __builtin_trap();
  uint64_t bytes = 0;
  if (galleon::size_of_text(text.substr(0, galleon::kTextSizeDigits), bytes) && bytes > galleon::kLargestText)
    __builtin_trap();
  const int rank = galleon::rank_of_hello(text.substr(0, galleon::kHelloBytes));
  if (rank < -1 || rank > 99'999'999) __builtin_trap();

  static const galleon::Listener listener = *galleon::listen_on("127.0.0.1");
  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  const absl::StatusOr<galleon::FileDescriptor> caller = galleon::connect_to(listener.address, nullptr, deadline);
  if (!caller.ok()) return 0;
  if (!galleon::send_all(caller->get(), text.substr(0, 4096), deadline).ok()) return 0;
  ::shutdown(caller->get(), SHUT_WR);
  galleon::Reception reception(
      listener.socket.get(), [](int) { return "a secret that no input has"; }, true);
  if (reception.next(absl::Now()).has_value()) __builtin_trap();
  return 0;
}
