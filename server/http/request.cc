#include "server/http/request.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/json_depth.h"
#include "common/base/status_macros.h"
#include "galleon/v1/jobs.pb.h"

namespace galleon::server {

namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kMostFields = 200;

absl::Status wrong(absl::string_view name, absl::string_view value, absl::string_view accepted) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": \"", value, "\" is not ", accepted));
}

absl::StatusOr<int> enum_number(const EnumDescriptor& type, absl::string_view name, const std::string& value) {
  const EnumValueDescriptor* found = type.FindValueByName(absl::AsciiStrToUpper(value));
  if (found != nullptr && found->number() != 0) return found->number();
  std::vector<std::string> known;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) known.push_back(type.value(i)->name());
  }
  return wrong(name, value, absl::StrCat("one of ", absl::StrJoin(known, ", ")));
}

absl::Status set_field(Message& message, const FieldDescriptor& field, const std::string& value) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_map()) {
    const size_t equals = value.find('=');
    if (equals == std::string::npos || equals == 0) return wrong(field.name(), value, "KEY=VALUE");
    Message& entry = *reflection.AddMessage(&message, &field);
    const Descriptor& type = *entry.GetDescriptor();
    entry.GetReflection()->SetString(&entry, type.map_key(), value.substr(0, equals));
    entry.GetReflection()->SetString(&entry, type.map_value(), value.substr(equals + 1));
    return absl::OkStatus();
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      if (field.is_repeated()) {
        reflection.AddString(&message, &field, value);
      } else {
        reflection.SetString(&message, &field, value);
      }
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_ENUM: {
      ASSIGN_OR_RETURN(const int number, enum_number(*field.enum_type(), field.name(), value));
      reflection.AddEnumValue(&message, &field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      if (value != "true" && value != "false") return wrong(field.name(), value, "true or false");
      reflection.SetBool(&message, &field, value == "true");
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_UINT32: {
      uint32_t number = 0;
      if (!absl::SimpleAtoi(value, &number)) return wrong(field.name(), value, "a whole number from 0 to 4294967295");
      reflection.SetUInt32(&message, &field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t number = 0;
      if (!absl::SimpleAtoi(value, &number))
        return wrong(field.name(), value, "a whole number from 0 to 18446744073709551615");
      reflection.SetUInt64(&message, &field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t number = 0;
      if (!absl::SimpleAtoi(value, &number)) return wrong(field.name(), value, "a whole number");
      reflection.SetInt64(&message, &field, number);
      return absl::OkStatus();
    }
    default:
      return absl::InternalError(absl::StrCat(field.name(), " cannot stand in a query"));
  }
}

// "jobs.progress.loss" below the message that is answered.
absl::Status add_field(const Descriptor& type, const std::string& path, FieldTree& tree) {
  const Descriptor* at = &type;
  FieldTree* node = &tree;
  for (const absl::string_view part : absl::StrSplit(path, '.')) {
    const FieldDescriptor* field = at == nullptr ? nullptr : at->FindFieldByName(std::string(part));
    if (field == nullptr) return wrong("fields", path, absl::StrCat("a field of ", type.name()));
    node = &node->below[std::string(part)];
    at = field->is_map() ? nullptr : field->message_type();
  }
  return absl::OkStatus();
}

absl::Status take_extra(const std::string& name, const std::string& value, Call& call) {
  if (name == "limit") {
    if (!absl::SimpleAtoi(value, &call.limit) || call.limit == 0 || call.limit > kMostText)
      return wrong(name, value, absl::StrCat("a whole number from 1 to ", kMostText));
    return absl::OkStatus();
  }
  int fields = 0;
  for (const absl::string_view path : absl::StrSplit(value, ',', absl::SkipEmpty())) {
    if (++fields > kMostFields) return absl::InvalidArgumentError(absl::StrCat("fields: more than ", kMostFields));
    RETURN_IF_ERROR(add_field(*call.route->descriptor().output_type(), std::string(path), call.fields));
  }
  return absl::OkStatus();
}

absl::Status take_query(const Route& route, const Target& target, Call& call) {
  std::map<std::string, int> seen;
  const std::vector<Extra> extras = extras_of(route);
  for (const auto& [name, value] : target.query) {
    const bool is_extra =
        std::any_of(extras.begin(), extras.end(), [&n = name](const Extra& extra) { return n == extra.name; });
    const bool is_field = std::find(route.query.begin(), route.query.end(), name) != route.query.end();
    if (!is_extra && !is_field) {
      std::vector<std::string> known(route.query.begin(), route.query.end());
      for (const Extra& extra : extras) known.emplace_back(extra.name);
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": is no parameter of ", route.path,
                       known.empty() ? "; it has none" : absl::StrCat("; there are ", absl::StrJoin(known, ", "))));
    }
    const FieldDescriptor* field = is_field ? route.descriptor().input_type()->FindFieldByName(name) : nullptr;
    const bool many = field != nullptr && field->is_repeated();
    if (++seen[name] > 1 && !many) return absl::InvalidArgumentError(absl::StrCat(name, ": is there twice"));
    if (is_extra) {
      RETURN_IF_ERROR(take_extra(name, value, call));
    } else if (many && !field->is_map()) {
      for (const absl::string_view one : absl::StrSplit(value, ',', absl::SkipEmpty()))
        RETURN_IF_ERROR(set_field(*call.request, *field, std::string(one)));
    } else {
      RETURN_IF_ERROR(set_field(*call.request, *field, value));
    }
  }
  return absl::OkStatus();
}

absl::Status take_body(const Route& route, absl::string_view body, Message& request) {
  if (absl::StripAsciiWhitespace(body).empty()) return absl::OkStatus();
  if (nested_too_deeply(body)) return absl::InvalidArgumentError("the body is nested too deeply");
  std::unique_ptr<Message> given(request.New());
  const auto parsed =
      google::protobuf::util::JsonStringToMessage(google::protobuf::StringPiece(body.data(), body.size()), given.get());
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("the body is no JSON object with what is accepted, ",
                                                   absl::StrJoin(route.body, ", "), ": ",
                                                   std::string(parsed.message())));
  }
  std::vector<const FieldDescriptor*> set;
  given->GetReflection()->ListFields(*given, &set);
  for (const FieldDescriptor* field : set) {
    if (std::find(route.body.begin(), route.body.end(), field->name()) == route.body.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(field->name(), ": is not accepted in the body; there are ", absl::StrJoin(route.body, ", ")));
    }
  }
  request.MergeFrom(*given);
  return absl::OkStatus();
}

}  // namespace

std::vector<Extra> extras_of(const Route& route) {
  if (route.answer == Route::Answer::kText) return {{"limit", "bytes at most; default 262144, at most 1048576"}};
  if (absl::string_view(route.method) == "ReadLogs") return {};
  return {{"fields",
           "of the answer, those that are wanted, with commas between them (jobs.job_id,jobs.state), as far as they "
           "differ from their defaults; "
           "default: all"}};
}

absl::StatusOr<Call> make_call(const Matched& matched, const Target& target, absl::string_view body) {
  const Route& route = *matched.route;
  Call call;
  call.route = &route;
  call.limit = kDefaultText;
  const Descriptor& type = *route.descriptor().input_type();
  call.request.reset(google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type)->New());
  RETURN_IF_ERROR(take_query(route, target, call));
  RETURN_IF_ERROR(take_body(route, body, *call.request));
  for (const auto& [name, value] : route.fixed)
    RETURN_IF_ERROR(set_field(*call.request, *type.FindFieldByName(name), value));
  if (route.resource != nullptr) {
    call.request->GetReflection()->SetString(call.request.get(), type.FindFieldByName(route.resource),
                                             absl::StrCat(route.kind, matched.segment));
  }
  return call;
}

absl::Status go_on_after(const Route& route, absl::string_view last_event_id, Message& request) {
  const Descriptor& type = *request.GetDescriptor();
  const Reflection& reflection = *request.GetReflection();
  uint64_t revision = 0;
  if (const FieldDescriptor* after = type.FindFieldByName("after_revision"); after != nullptr) {
    if (!absl::SimpleAtoi(last_event_id, &revision)) return wrong("Last-Event-ID", last_event_id, "one that was given");
    reflection.SetUInt64(&request, after, revision);
    if (const FieldDescriptor* now = type.FindFieldByName("from_now"); now != nullptr)
      reflection.SetBool(&request, now, false);
    return absl::OkStatus();
  }
  if (absl::string_view(route.method) != "ReadLogs") return absl::OkStatus();
  // "ATTEMPT:OFFSET".
  const std::vector<std::string> parts = absl::StrSplit(last_event_id, ':');
  auto& logs = static_cast<v1::ReadLogsRequest&>(request);
  uint32_t attempt = 0;
  uint64_t offset = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &attempt) || !absl::SimpleAtoi(parts[1], &offset))
    return wrong("Last-Event-ID", last_event_id, "one that was given");
  logs.set_attempt(attempt);
  logs.set_offset(offset);
  logs.clear_tail_lines();
  return absl::OkStatus();
}

void keep_only(const FieldTree& wanted, Message& message) {
  if (wanted.below.empty()) return;
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> set;
  reflection.ListFields(message, &set);
  for (const FieldDescriptor* field : set) {
    const auto it = wanted.below.find(field->name());
    if (it == wanted.below.end()) {
      reflection.ClearField(&message, field);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_map()) {
      if (field->is_repeated()) {
        for (int i = 0; i < reflection.FieldSize(message, field); ++i)
          keep_only(it->second, *reflection.MutableRepeatedMessage(&message, field, i));
      } else {
        keep_only(it->second, *reflection.MutableMessage(&message, field));
      }
    }
  }
}

absl::Status refuse_tokens(const Target& target) {
  for (const auto& [name, value] : target.query) {
    const std::string lower = absl::AsciiStrToLower(name);
    for (const absl::string_view word :
         {"token", "access_token", "auth", "authorization", "bearer", "api_key", "apikey"}) {
      if (lower == word) {
        return absl::InvalidArgumentError(
            absl::StrCat(lower,
                         ": a token is taken from the header Authorization alone; one in an address stays in logs "
                         "and histories, so make another if this one was real"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace galleon::server
