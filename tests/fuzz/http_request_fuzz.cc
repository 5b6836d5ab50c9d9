// Any bytes as a request by HTTP: a call with a message of its method's, or an error that a client can read.
#include <boost/asio/buffer.hpp>
#include <boost/beast/http.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/string_view.h"
#include "server/http/error_json.h"
#include "server/http/request.h"
#include "server/http/routes.h"
#include "server/http/url.h"

namespace {

namespace http = boost::beast::http;
using Request = http::request<http::string_body>;

constexpr size_t kLongestError = 64 << 10;

// What is said of it is JSON, and no echo of megabytes.
void told(const absl::Status& status) {
  const galleon::server::HttpError error = galleon::server::http_error(status);
  if (error.status < 400 || error.status > 599 || error.body.size() > kLongestError) __builtin_trap();
  const nlohmann::json read = nlohmann::json::parse(error.body, nullptr, false);
  if (read.is_discarded() || !read.contains("error")) __builtin_trap();
}

void handle(const Request& request) {
  const absl::StatusOr<galleon::server::Target> target = galleon::server::parse_target(std::string(request.target()));
  if (!target.ok()) return told(target.status());
  if (const absl::Status leak = galleon::server::refuse_tokens(*target); !leak.ok()) told(leak);
  const absl::StatusOr<galleon::server::Matched> matched =
      galleon::server::match(std::string(request.method_string()), target->path);
  if (!matched.ok()) return told(matched.status());
  const absl::StatusOr<galleon::server::Call> call =
      galleon::server::make_call(*matched, *target, matched->route->changes() ? request.body() : "");
  if (!call.ok()) return told(call.status());
  if (call->request->GetDescriptor() != matched->route->descriptor().input_type()) __builtin_trap();
  const absl::Status on =
      galleon::server::go_on_after(*matched->route, std::string(request["Last-Event-ID"]), *call->request);
  if (!on.ok()) told(on);
  // A gRPC client's message must be readable by the service.
  if (!call->request->ParseFromString(call->request->SerializeAsString())) __builtin_trap();
  galleon::server::keep_only(call->fields, *call->request);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  http::request_parser<http::string_body> parser;
  parser.header_limit(16 << 10);
  parser.body_limit(64 << 10);
  parser.eager(true);
  boost::system::error_code error;
  parser.put(boost::asio::const_buffer(data, size), error);
  if (error && error != http::error::need_more) return 0;
  if (parser.is_header_done()) handle(parser.get());
  return 0;
}
