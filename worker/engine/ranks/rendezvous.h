// How ranks find each other, and how they notice before the first step that they do not belong together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace galleon {

// Each rank offers one payload, and gets all of them in rank order. UNAVAILABLE: not all came in time; the message
// names who is missing, as far as the rendezvous can know.
class Rendezvous {
 public:
  virtual ~Rendezvous() = default;
  virtual absl::StatusOr<std::vector<std::string>> exchange(int rank, int ranks, const std::string& payload,
                                                            absl::Duration timeout) = 0;
};

// Through files of a folder that all ranks share; they are for their owner alone, because offers hold secrets. Ranks
// agree on one list of offers, so that what an earlier run left in the folder disturbs nobody.
std::unique_ptr<Rendezvous> make_folder_rendezvous(std::string folder);

// Through an address, "HOST:PORT": rank 0 listens there, the others call again and again until it does. All have to
// know `secret`, which is not sent, but offers are readable by whoever sees the network.
std::unique_ptr<Rendezvous> make_address_rendezvous(std::string address, std::string secret);

// What ranks must have in common.
struct RankIdentity {
  std::string version;  // of the program
  std::string job;      // canonical text of what it is to compute, one "key: value" a line
};

// What one rank tells the others.
struct RankOffer {
  RankIdentity identity;
  std::string address;  // host and port that it listens on
  std::string secret;   // of this attempt's connections to it
};
std::string encode_offer(const RankOffer& offer);
absl::StatusOr<RankOffer> decode_offer(const std::string& payload);

// FAILED_PRECONDITION names the first rank that differs from rank 0, and both versions or both values of each key.
absl::Status check_identities(const std::vector<RankOffer>& offers);

}  // namespace galleon
