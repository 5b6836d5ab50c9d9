// Messages as JSON, for programs.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace galleon {

// Protobuf's JSON with snake_case names, the keys of maps sorted, and words of the job file as it has them
// ("pretrain"). 64-bit numbers are strings, as protobuf has them. `indent`: blanks of a level; -1: all on one line.
// `every_field`: those too that have their default.
std::string message_json(const google::protobuf::Message& message, int indent, bool every_field = true);

}  // namespace galleon
