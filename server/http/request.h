// From an HTTP request to the message that a method takes.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/routes.h"
#include "server/http/url.h"

namespace galleon::server {

// A field of an answer that is wanted, with what is wanted of it; of a message without any, all.
struct FieldTree {
  std::map<std::string, FieldTree> below;
};

struct Call {
  const Route* route = nullptr;
  std::unique_ptr<google::protobuf::Message> request;
  FieldTree fields;    // empty: all
  uint64_t limit = 0;  // of kText: bytes
};

inline constexpr uint64_t kDefaultText = 256 << 10;
inline constexpr uint64_t kMostText = 1 << 20;

// Parameters beside the fields of the request.
struct Extra {
  const char* name;
  const char* help;
};
std::vector<Extra> extras_of(const Route& route);

// INVALID_ARGUMENT names the parameter or the field, and what is accepted. `body`: JSON, or empty.
absl::StatusOr<Call> make_call(const Matched& matched, const Target& target, absl::string_view body);
// Where a stream goes on, as the header Last-Event-ID has it. INVALID_ARGUMENT: it is none that was given.
absl::Status go_on_after(const Route& route, absl::string_view last_event_id, google::protobuf::Message& request);

// Leaves of `message` what `wanted` says.
void keep_only(const FieldTree& wanted, google::protobuf::Message& message);

// A token in an address is in logs and histories. INVALID_ARGUMENT names the parameter.
absl::Status refuse_tokens(const Target& target);

}  // namespace galleon::server
