// What the HTTP interface serves, as an OpenAPI 3.0 document, from the table of routes and the messages.
#pragma once

#include <string>

namespace galleon::server {

// JSON, indented.
std::string openapi_json(const std::string& version);

}  // namespace galleon::server
