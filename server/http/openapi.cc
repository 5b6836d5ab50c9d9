#include "server/http/openapi.h"

#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "galleon/v1/job.pb.h"
#include "proto/jobfile/keys.h"
#include "server/http/request.h"
#include "server/http/routes.h"

namespace galleon::server {

namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

bool is_of_job_file(const EnumDescriptor& type) {
  return type.file() == v1::Job::descriptor()->file();
}

Json words_of(const EnumDescriptor& type) {
  Json words = Json::array();
  for (int i = 0; i < type.value_count(); ++i) {
    // As they are written: words of the job file, or names; what is not set has a name only elsewhere.
    if (!is_of_job_file(type))
      words.push_back(type.value(i)->name());
    else if (type.value(i)->number() != 0)
      words.push_back(enum_word(*type.value(i)));
  }
  return words;
}

Json reference(const std::string& name) {
  return {{"$ref", "#/components/schemas/" + name}};
}

// "Attempt.Outcome" without the package.
std::string schema_name(const Descriptor& type) {
  return type.full_name().substr(type.file()->package().size() + 1);
}

class Schemas {
 public:
  Json of_message(const Descriptor& type) {
    const std::string name = schema_name(type);
    if (!seen_.insert(name).second) return reference(name);
    Json properties = Json::object();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      properties[field.name()] = of_field(field);
      const std::string help = key_options(field).help();
      if (!help.empty() && !properties[field.name()].contains("$ref")) properties[field.name()]["description"] = help;
    }
    all[name] = {{"type", "object"}, {"properties", properties}};
    return reference(name);
  }

  Json all = Json::object();

 private:
  Json of_field(const FieldDescriptor& field) {
    if (field.is_map()) {
      return {{"type", "object"}, {"additionalProperties", of_value(*field.message_type()->map_value())}};
    }
    if (field.is_repeated()) return {{"type", "array"}, {"items", of_value(field)}};
    return of_value(field);
  }

  Json of_value(const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        if (field.type() == FieldDescriptor::TYPE_BYTES) return {{"type", "string"}, {"format", "byte"}};
        return {{"type", "string"}};
      case FieldDescriptor::CPPTYPE_BOOL:
        return {{"type", "boolean"}};
      case FieldDescriptor::CPPTYPE_INT32:
      case FieldDescriptor::CPPTYPE_UINT32:
        return {{"type", "integer"}};
      case FieldDescriptor::CPPTYPE_INT64:
        return {{"type", "string"}, {"format", "int64"}, {"pattern", "^-?[0-9]+$"}};
      case FieldDescriptor::CPPTYPE_UINT64:
        return {{"type", "string"}, {"format", "uint64"}, {"pattern", "^[0-9]+$"}};
      case FieldDescriptor::CPPTYPE_ENUM: {
        Json schema = {{"type", "string"}, {"enum", words_of(*field.enum_type())}};
        if (is_of_job_file(*field.enum_type())) {
          schema["nullable"] = true;
          schema["enum"].push_back(nullptr);
        }
        return schema;
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return of_message(*field.message_type());
      default:
        return {{"description", "a number, or \"NaN\", \"Infinity\", \"-Infinity\""},
                {"oneOf", {{{"type", "number"}}, {{"type", "string"}, {"enum", {"NaN", "Infinity", "-Infinity"}}}}}};
    }
  }

  std::set<std::string> seen_;
};

Json query_schema(const FieldDescriptor& field) {
  if (field.is_map()) return {{"type", "array"}, {"items", {{"type", "string"}, {"pattern", "^[^=]+=.*$"}}}};
  Json value;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      value = {{"type", "boolean"}};
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      value = {{"type", "integer"}, {"minimum", 0}, {"maximum", UINT32_MAX}};
      if (field.name() == "page_size") value["maximum"] = 1000;
      if (field.name() == "buckets") value["maximum"] = 2000;
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      value = {{"type", "integer"}, {"format", "uint64"}, {"minimum", 0}, {"maximum", INT64_MAX}};
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      value = {{"type", "integer"}, {"format", "int64"}, {"minimum", INT64_MIN}, {"maximum", INT64_MAX}};
      break;
    case FieldDescriptor::CPPTYPE_ENUM: {
      Json names = Json::array();
      for (int i = 0; i < field.enum_type()->value_count(); ++i) {
        if (field.enum_type()->value(i)->number() != 0) names.push_back(field.enum_type()->value(i)->name());
      }
      value = {{"type", "string"}, {"enum", names}};
      break;
    }
    default:
      value = {{"type", "string"}};
  }
  return field.is_repeated() ? Json{{"type", "array"}, {"items", value}} : value;
}

Json parameters_of(const Route& route) {
  Json parameters = Json::array();
  const absl::string_view path = route.path;
  if (const size_t open = path.find('{'); open != absl::string_view::npos) {
    const std::string name(path.substr(open + 1, path.find('}') - open - 1));
    parameters.push_back({{"name", name},
                          {"in", "path"},
                          {"required", true},
                          {"schema", {{"type", "string"}, {"minLength", 1}, {"pattern", "^[^/:]+$"}}}});
  }
  for (const char* name : route.query) {
    const FieldDescriptor& field = *route.descriptor().input_type()->FindFieldByName(name);
    Json parameter = {{"name", name}, {"in", "query"}, {"schema", query_schema(field)}};
    if (field.is_repeated() && !field.is_map()) {
      parameter["style"] = "form";
      parameter["explode"] = false;
    }
    parameters.push_back(parameter);
  }
  for (const Extra& extra : extras_of(route)) {
    const bool is_limit = absl::string_view(extra.name) == "limit";
    parameters.push_back({{"name", extra.name},
                          {"in", "query"},
                          {"description", extra.help},
                          {"schema", is_limit ? Json{{"type", "integer"}, {"minimum", 1}, {"maximum", kMostText}}
                                              : Json{{"type", "string"}}}});
  }
  if (route.answer == Route::Answer::kEvents) {
    parameters.push_back({{"name", "Last-Event-ID"},
                          {"in", "header"},
                          {"description", "the id of the last event that was seen: what came after it is told"},
                          {"schema", {{"type", "string"}}}});
  }
  return parameters;
}

Json body_of(const Route& route, Schemas& schemas) {
  Json properties = Json::object();
  for (const char* name : route.body) {
    const bool is_bool =
        route.descriptor().input_type()->FindFieldByName(name)->cpp_type() == FieldDescriptor::CPPTYPE_BOOL;
    properties[name] = {{"type", is_bool ? "boolean" : "string"}};
  }
  const std::string name = route.id + "Body";
  schemas.all[name] = {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
  return {{"required", false}, {"content", {{"application/json", {{"schema", reference(name)}}}}}};
}

Json answers_of(const Route& route, Schemas& schemas) {
  Json good;
  switch (route.answer) {
    case Route::Answer::kMessage:
      good = {{"application/json", {{"schema", schemas.of_message(*route.descriptor().output_type())}}}};
      break;
    case Route::Answer::kEvents:
      good = {{"text/event-stream", {{"schema", {{"type", "string"}}}}}};
      break;
    case Route::Answer::kText:
      good = {{"application/json", {{"schema", reference("LogPart")}}}};
      break;
  }
  Json answers = {{"200", {{"description", "as it is now"}, {"content", good}}}};
  answers["default"] = {{"description", "why not"},
                        {"content", {{"application/json", {{"schema", reference("Error")}}}}}};
  return answers;
}

}  // namespace

std::string openapi_json(const std::string& version) {
  Schemas schemas;
  const Json text = {{"type", "string"}};
  schemas.all["Error"] = {
      {"type", "object"},
      {"required", {"error"}},
      {"properties",
       {{"error",
         {{"type", "object"},
          {"required", {"code", "status", "reason", "message"}},
          {"properties",
           {{"code", {{"type", "integer"}}},
            {"status", text},
            {"reason", text},
            {"message", text},
            {"fields",
             {{"type", "array"},
              {"items", {{"type", "object"}, {"properties", {{"field", text}, {"description", text}}}}}}}}}}}}}};
  schemas.all["LogPart"] = {{"type", "object"},
                            {"properties",
                             {{"attempt", {{"type", "integer"}}},
                              {"offset", {{"type", "string"}, {"pattern", "^[0-9]+$"}}},
                              {"next_offset", {{"type", "string"}, {"pattern", "^[0-9]+$"}}},
                              {"text", text}}}};
  Json paths = Json::object();
  for (const Route& route : routes()) {
    Json operation = {{"operationId", route.id},
                      {"summary", route.summary},
                      {"tags", {absl::StrCat(route.service).substr(std::string("galleon.v1.").size())}},
                      {"parameters", parameters_of(route)}};
    if (route.changes()) operation["requestBody"] = body_of(route, schemas);
    operation["responses"] = answers_of(route, schemas);
    paths[route.path][absl::AsciiStrToLower(route.verb)] = operation;
  }
  const Json document = {
      {"openapi", "3.0.3"},
      {"info",
       {{"title", "Galleon"},
        {"version", version},
        {"description",
         "The scheduler by HTTP and JSON: the same services as by gRPC, whose messages proto/galleon/v1 describes. "
         "64-bit "
         "numbers are strings. Words of the job file are written as it has them."},
        {"license", {{"name", "Apache-2.0"}, {"url", "https://www.apache.org/licenses/LICENSE-2.0"}}}}},
      {"servers", {{{"url", "/"}}}},
      {"security", {Json::object(), {{"token", Json::array()}}}},
      {"paths", paths},
      {"components",
       {{"securitySchemes", {{"token", {{"type", "http"}, {"scheme", "bearer"}}}}}, {"schemas", schemas.all}}}};
  return document.dump(1) + "\n";
}

}  // namespace galleon::server
