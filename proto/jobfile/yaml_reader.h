// Reads a YAML document into a message by its descriptor, collecting every error with its key and line.
#pragma once

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "proto/jobfile/issues.h"

namespace galleon {

// Where keys stand in the file: dotted key to line, counted from 1. Absent keys are absent.
using KeyLines = std::map<std::string, int>;

// Sets what the document gives, checks types, ranges and unknown, doubled and missing keys, and fills in the defaults
// of absent keys. Text beyond 1 MiB, 64 levels or 20,000 values (aliases counted each time) is refused.
void read_yaml(absl::string_view yaml, google::protobuf::Message& message, KeyLines& lines, JobIssues& issues);

}  // namespace galleon
