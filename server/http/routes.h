// The one table of the HTTP interface: what is served where, by which method of which service, with which parameters.
// The server finds its way by it, and the OpenAPI description is written from it.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon::server {

struct Route {
  enum class Answer {
    kMessage,  // the method's response as JSON
    kEvents,   // its stream as server-sent events
    kText,     // a part of a log, which the method sends as a stream
  };

  const char* verb;
  const char* path;     // "/v1/jobs/{job}:cancel"; a part in braces is a segment, up to the next '/' or ':'
  const char* service;  // "galleon.v1.JobService"
  const char* method;
  Answer answer;
  const char* resource;            // the field of the request that takes "KIND/SEGMENT"; null: the path has no segment
  const char* kind;                // "jobs/"
  std::vector<const char*> query;  // fields of the request that may stand in the query
  std::vector<const char*> body;   // and in the body
  const char* summary;
  std::string id = method;  // of the operation, in the OpenAPI description
  // Values that the request always has: "follow=true".
  std::vector<std::pair<const char*, const char*>> fixed = {};

  const google::protobuf::MethodDescriptor& descriptor() const;
  // "/galleon.v1.JobService/CancelJob", as gRPC has it.
  std::string grpc_method() const;
  bool changes() const { return absl::string_view(verb) == "POST"; }
};

const std::vector<Route>& routes();

struct Matched {
  const Route* route = nullptr;
  std::string segment;  // decoded
};

// `path`: without the query, still encoded. NOT_FOUND: nothing is served there; UNIMPLEMENTED names the verbs that are.
absl::StatusOr<Matched> match(absl::string_view verb, absl::string_view path);

}  // namespace galleon::server
