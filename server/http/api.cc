#include "server/http/api.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/net/listen_address.h"
#include "proto/jobfile/message_json.h"
#include "server/http/error_json.h"
#include "server/http/event_text.h"
#include "server/http/openapi.h"
#include "server/page/page.h"

namespace galleon::server {

namespace {

constexpr char kJson[] = "application/json";
constexpr size_t kLongestToken = 8 << 10;

HttpReply json_reply(std::string body) {
  return {200, kJson, std::move(body), {{"Cache-Control", "no-store"}}};
}

HttpReply error_reply(const HttpError& error) {
  HttpReply reply{error.status, kJson, error.body, {{"Cache-Control", "no-store"}}};
  if (error.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

// "localhost:7072" without its port.
std::string host_of(absl::string_view authority) {
  if (absl::StartsWith(authority, "[")) return std::string(authority.substr(1, authority.find(']') - 1));
  return std::string(authority.substr(0, authority.find(':')));
}

bool asks_for_one_of(absl::string_view if_none_match, absl::string_view etag) {
  return if_none_match == "*" || absl::StrContains(if_none_match, etag);
}

HttpReply asset_reply(const PageAsset& asset, const HttpRequest& request) {
  HttpReply reply{
      200, asset.type, "", {{"ETag", asset.etag}, {"Cache-Control", "no-cache"}, {"Vary", "Accept-Encoding"}}};
  if (asks_for_one_of(request.header("if-none-match"), asset.etag)) {
    reply.status = 304;
    return reply;
  }
  if (absl::StrContains(request.header("accept-encoding"), "gzip")) {
    reply.body = std::string(asset.gzip);
    reply.headers.emplace_back("Content-Encoding", "gzip");
  } else {
    reply.body = unpacked(asset);
  }
  return reply;
}

// Whoever lets a browser call a server of nobody's must be a page of that server: another site's page may have made a
// name of its own point here (Host), or send a form (Origin).
absl::Status check_browser(const HttpRequest& request) {
  const std::string host = host_of(request.header("host"));
  if (!is_loopback({host, 0})) {
    return absl::PermissionDeniedError(
        absl::StrCat("Host \"", host,
                     "\": this server is reached as localhost, 127.0.0.1 or [::1] alone, since it asks for no token"));
  }
  // The files of the page tell nobody anything.
  if (!absl::StartsWith(request.target, "/v1/")) return absl::OkStatus();
  const absl::string_view origin = request.header("origin");
  const absl::string_view site = request.header("sec-fetch-site");
  const size_t scheme = origin.find("://");
  const bool foreign_origin =
      !origin.empty() && (scheme == absl::string_view::npos || origin.substr(scheme + 3) != request.header("host"));
  // No script can set what the browser itself says of the site; a proxy changes the host, and not that.
  if (site.empty() ? foreign_origin : site != "same-origin" && site != "none")
    return absl::PermissionDeniedError("Origin: pages of other sites may not call this server");
  return absl::OkStatus();
}

absl::StatusOr<std::string> authorization_of(const HttpRequest& request) {
  const auto is_it = [](const auto& header) { return header.first == "authorization"; };
  if (std::count_if(request.headers.begin(), request.headers.end(), is_it) > 1)
    return absl::UnauthenticatedError("Authorization: is there more than once");
  const absl::string_view said = absl::StripAsciiWhitespace(request.header("authorization"));
  if (said.empty()) return std::string();
  if (!absl::StartsWithIgnoreCase(said, "bearer "))
    return absl::UnauthenticatedError("Authorization: Bearer TOKEN is what is accepted");
  const absl::string_view token = absl::StripAsciiWhitespace(said.substr(7));
  if (token.empty() || token.size() > kLongestToken || !std::all_of(token.begin(), token.end(), absl::ascii_isgraph))
    return absl::UnauthenticatedError("Authorization: the token is not one of printable characters");
  return absl::StrCat("Bearer ", token);
}

std::unique_ptr<google::protobuf::Message> response_of(const Route& route, const std::string& bytes) {
  std::unique_ptr<google::protobuf::Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(route.descriptor().output_type())->New());
  message->ParseFromString(bytes);
  return message;
}

// Between a stream of the services, whose threads are gRPC's, and an exchange. Used on the server's thread alone.
struct EventBridge : std::enable_shared_from_this<EventBridge> {
  std::shared_ptr<Exchange> exchange;
  std::shared_ptr<Backend::Stream> stream;
  std::unique_ptr<EventWriter> writer;
  bool begun = false;
  bool over = false;

  void begin() {
    if (begun || over) return;
    begun = true;
    exchange->begin_events([self = shared_from_this()] {
      self->over = true;
      if (self->stream != nullptr) self->stream->cancel();
      self->stream = nullptr;
    });
    exchange->send_event("retry: 1000\n\n", [] {});
  }
  void message(const std::string& bytes) {
    begin();
    if (over) return;
    exchange->send_event(writer->write(bytes), [self = shared_from_this()] {
      if (self->stream != nullptr) self->stream->next();
    });
  }
  void end(const grpc::Status& status) {
    stream = nullptr;
    if (std::exchange(over, true)) return;
    if (!begun) {
      if (!status.ok()) return exchange->reply(error_reply(http_error(status)));
      over = false;
      begin();
      over = true;
    }
    std::string body = status.ok() ? "{}" : http_error(status).body;
    while (!body.empty() && body.back() == '\n') body.pop_back();
    exchange->end_events(event_text(status.ok() ? "end" : "error", "", body));
  }
};

// A part of a log while it is gathered.
struct TextBridge {
  std::shared_ptr<Exchange> exchange;
  std::shared_ptr<Backend::Stream> stream;
  uint64_t limit = 0;
  uint32_t attempt = 0;
  uint64_t offset = 0;
  std::string bytes;
  bool over = false;

  void finish() {
    over = true;
    stream = nullptr;
    if (bytes.size() > limit) bytes.resize(limit);
    LogText text;
    const std::string whole = text.add(bytes);
    // What breaks off within a character is left for the next part, unless there is nothing else.
    const uint64_t next = offset + bytes.size() - (whole.empty() ? 0 : text.held());
    const nlohmann::ordered_json json = {
        {"attempt", attempt}, {"offset", absl::StrCat(offset)}, {"next_offset", absl::StrCat(next)}, {"text", whole}};
    exchange->reply(json_reply(json.dump() + "\n"));
  }
};

}  // namespace

Api::Api(Options options)
    : options_(std::move(options)), backend_(options_.channel), openapi_(openapi_json(options_.version)) {}

void Api::handle(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const absl::StatusOr<Target> target = parse_target(request.target);
  if (!target.ok()) return exchange->reply(error_reply(http_error(target.status())));
  if (const absl::Status leak = refuse_tokens(*target); !leak.ok())
    return exchange->reply(error_reply(http_error(leak)));
  if (options_.anybody) {
    if (const absl::Status foreign = check_browser(request); !foreign.ok())
      return exchange->reply(error_reply(http_error(foreign)));
  }
  if (absl::StartsWith(target->path, "/v1/")) return handle_call(request, *target, exchange);
  const PageAsset* asset = page_asset(target->path);
  const bool is_description = target->path == "/openapi.json";
  if (asset == nullptr && !is_description) {
    return exchange->reply(error_reply(
        http_error(absl::NotFoundError("nothing is served there; / is the page, /openapi.json says what is where"))));
  }
  if (request.verb != "GET" && request.verb != "HEAD") {
    HttpReply reply = error_reply(http_error(405, absl::UnimplementedError("GET and HEAD are what is served there")));
    reply.headers.emplace_back("Allow", "GET, HEAD");
    return exchange->reply(std::move(reply));
  }
  exchange->reply(is_description ? json_reply(openapi_) : asset_reply(*asset, request));
}

void Api::handle_call(const HttpRequest& request, const Target& target, const std::shared_ptr<Exchange>& exchange) {
  const absl::StatusOr<Matched> matched = match(request.verb == "HEAD" ? "GET" : request.verb, target.path);
  if (absl::IsUnimplemented(matched.status())) {
    const std::string verbs(matched.status().message());
    HttpReply reply =
        error_reply(http_error(405, absl::UnimplementedError(absl::StrCat(verbs, " is what is served there"))));
    reply.headers.emplace_back("Allow", verbs);
    return exchange->reply(std::move(reply));
  }
  if (!matched.ok()) return exchange->reply(error_reply(http_error(matched.status())));
  const Route& route = *matched->route;
  const absl::string_view type = request.header("content-type");
  if (route.changes() && absl::StripAsciiWhitespace(type.substr(0, type.find(';'))) != kJson) {
    // A form of another site cannot send it.
    return exchange->reply(
        error_reply(http_error(415, absl::InvalidArgumentError("Content-Type: application/json is what is accepted"))));
  }
  Identity identity;
  identity.peer = absl::StrCat(options_.inside, " http:", request.peer);
  if (!options_.anybody) {
    absl::StatusOr<std::string> authorization = authorization_of(request);
    if (authorization.ok() && authorization->empty()) {
      authorization = absl::UnauthenticatedError(
          "Authorization: Bearer TOKEN is needed here; tokens are made as docs/operate.md says");
    }
    if (!authorization.ok()) return exchange->reply(error_reply(http_error(authorization.status())));
    identity.authorization = *std::move(authorization);
  }
  absl::StatusOr<Call> call = make_call(*matched, target, route.changes() ? absl::string_view(request.body) : "");
  if (!call.ok()) return exchange->reply(error_reply(http_error(call.status())));
  if (const absl::string_view last = request.header("last-event-id"); !last.empty()) {
    if (const absl::Status status = go_on_after(route, last, *call->request); !status.ok())
      return exchange->reply(error_reply(http_error(status)));
  }
  switch (route.answer) {
    case Route::Answer::kMessage: {
      const auto shared = std::make_shared<const Call>(*std::move(call));
      const absl::Duration age = route.changes() ? absl::ZeroDuration() : SharedAnswers::age_taken(request);
      if (age > absl::ZeroDuration()) return share(shared, identity, request.target, age, exchange);
      return answer(shared, identity, [exchange](HttpReply reply) { exchange->reply(std::move(reply)); });
    }
    case Route::Answer::kEvents:
      return stream(*std::move(call), identity, exchange);
    case Route::Answer::kText:
      return read_text(*std::move(call), identity, exchange);
  }
}

void Api::answer(const std::shared_ptr<const Call>& call, const Identity& identity,
                 std::function<void(HttpReply)> done) {
  backend_.call(
      call->route->grpc_method(), call->request->SerializeAsString(), identity,
      [post = options_.post, call, done = std::move(done)](const grpc::Status& status, const std::string& response) {
        HttpReply reply;
        if (status.ok()) {
          // On a thread of gRPC's: JSON of a long list holds up nobody else.
          const auto message = response_of(*call->route, response);
          keep_only(call->fields, *message);
          reply = json_reply(message_json(*message, -1, call->fields.below.empty()) + "\n");
        } else {
          reply = error_reply(http_error(status));
        }
        post([done, reply = std::move(reply)]() mutable { done(std::move(reply)); });
      });
}

void Api::share(const std::shared_ptr<const Call>& call, const Identity& identity, const std::string& target,
                absl::Duration age, const std::shared_ptr<Exchange>& exchange) {
  const std::string key = absl::StrCat(options_.access_generation(), " ", identity.authorization, " ", target);
  const auto to_exchange = [exchange](HttpReply reply) { exchange->reply(std::move(reply)); };
  const auto ask = [this, call, identity, to_exchange] { answer(call, identity, to_exchange); };
  const absl::Time asked = absl::Now();
  if (shared_.serve(key, age, asked, exchange, ask)) return;
  answer(call, identity, [this, key, asked, to_exchange](HttpReply reply) {
    shared_.made(key, asked, reply, absl::Now());
    to_exchange(std::move(reply));
  });
}

void Api::stream(Call call, const Identity& identity, const std::shared_ptr<Exchange>& exchange) {
  auto bridge = std::make_shared<EventBridge>();
  bridge->exchange = exchange;
  bridge->writer = std::make_unique<EventWriter>(*call.route, std::move(call.fields));
  bridge->stream = backend_.stream(
      call.route->grpc_method(), call.request->SerializeAsString(), identity,
      [post = options_.post, bridge](std::string message) {
        post([bridge, message = std::move(message)] { bridge->message(message); });
      },
      [post = options_.post, bridge](const grpc::Status& status) { post([bridge, status] { bridge->end(status); }); });
  // What is refused is told at once; a stream that has nothing to tell yet is there all the same.
  options_.post_soon([bridge] { bridge->begin(); });
}

void Api::read_text(Call call, const Identity& identity, const std::shared_ptr<Exchange>& exchange) {
  auto bridge = std::make_shared<TextBridge>();
  bridge->exchange = exchange;
  bridge->limit = call.limit;
  const auto& request = static_cast<const v1::ReadLogsRequest&>(*call.request);
  bridge->attempt = request.attempt();
  bridge->offset = request.offset();
  bridge->stream = backend_.stream(
      call.route->grpc_method(), call.request->SerializeAsString(), identity,
      [post = options_.post, bridge](std::string message) {
        post([bridge, message = std::move(message)] {
          if (bridge->over) return;
          v1::ReadLogsResponse piece;
          piece.ParseFromString(message);
          if (bridge->bytes.empty()) {
            bridge->attempt = piece.attempt();
            bridge->offset = piece.offset();
          }
          bridge->bytes += piece.data();
          if (bridge->bytes.size() >= bridge->limit) return bridge->finish();
          bridge->stream->next();
        });
      },
      [post = options_.post, bridge](const grpc::Status& status) {
        post([bridge, status] {
          if (bridge->over) return;
          if (status.ok()) return bridge->finish();
          bridge->over = true;
          bridge->stream = nullptr;
          bridge->exchange->reply(error_reply(http_error(status)));
        });
      });
}

}  // namespace galleon::server
