#include "worker/engine/tracking/mlflow_server.h"

#include <curl/curl.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/bounded_text.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLongestAnswer = 4 << 20;
constexpr size_t kLongestReason = 400;
constexpr long kConnectMs = 10'000;
constexpr absl::Duration kLongestWait = absl::Minutes(5);

struct Taken {
  std::string body;
  absl::Duration retry_after;
};

size_t take_body(char* data, size_t size, size_t count, void* taken) {
  std::string& body = static_cast<Taken*>(taken)->body;
  if (body.size() + size * count > kLongestAnswer) return 0;
  body.append(data, size * count);
  return size * count;
}

// Retry-After in seconds; a date is left out.
size_t take_header(char* data, size_t size, size_t count, void* taken) {
  const absl::string_view line(data, size * count);
  const size_t colon = line.find(':');
  int64_t seconds = 0;
  if (colon != absl::string_view::npos && absl::AsciiStrToLower(line.substr(0, colon)) == "retry-after" &&
      absl::SimpleAtoi(absl::StripAsciiWhitespace(line.substr(colon + 1)), &seconds) && seconds > 0) {
    static_cast<Taken*>(taken)->retry_after = std::min(absl::Seconds(seconds), kLongestWait);
  }
  return size * count;
}

int stops(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(stop)->load() ? 1 : 0;
}

Json listed(const MlflowPairs& pairs) {
  Json list = Json::array();
  for (const auto& [key, value] : pairs) list.push_back({{"key", key}, {"value", value}});
  return list;
}

// A text within an answer, by the names on the way to it; empty where it is not there.
std::string text_at(const Json& answer, std::initializer_list<const char*> way) {
  const Json* place = &answer;
  for (const char* name : way) {
    if (!place->is_object() || !place->contains(name)) return "";
    place = &(*place)[name];
  }
  return place->is_string() ? place->get<std::string>() : "";
}

absl::Status strange(const std::string& address) {
  return absl::UnavailableError(absl::StrCat(address, " does not answer as an MLflow server does"));
}

}  // namespace

struct MlflowServer::Call {
  struct Free {
    void operator()(CURL* ended) const { curl_easy_cleanup(ended); }
  };
  std::unique_ptr<CURL, Free> handle{curl_easy_init()};
  const std::atomic<bool>* stop = nullptr;
};

MlflowServer::MlflowServer(MlflowAccess access, const std::atomic<bool>* stop, absl::Duration timeout)
    : access_(std::move(access)), timeout_(timeout), call_(std::make_unique<Call>()) {
  call_->stop = stop;
}

MlflowServer::~MlflowServer() = default;

absl::StatusOr<MlflowServer::Answer> MlflowServer::call(const std::string& url, const std::string* body) {
  CURL* curl = call_->handle.get();
  if (curl == nullptr) return absl::UnavailableError("libcurl has no handle");
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(nullptr, curl_slist_free_all);
  const auto add = [&headers](const std::string& line) {
    headers.reset(curl_slist_append(headers.release(), line.c_str()));
  };
  add("Content-Type: application/json");
  add("Expect:");
  add(absl::StrCat("User-Agent: galleon/", GALLEON_VERSION));
  if (!access_.token.empty()) add(absl::StrCat("Authorization: Bearer ", access_.token));
  Taken taken;
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  // A redirect could lead where nobody has allowed to go, with the credentials.
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,http");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);  // a name server that says nothing holds no end up
  if (body != nullptr) {
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->data());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body->size()));
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  if (!access_.user.empty()) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl_easy_setopt(curl, CURLOPT_USERNAME, access_.user.c_str());
    curl_easy_setopt(curl, CURLOPT_PASSWORD, access_.password.c_str());
  }
  curl_easy_setopt(curl, CURLOPT_NETRC, CURL_NETRC_IGNORED);
  std::error_code error;
  const bool folder = std::filesystem::is_directory(access_.authorities, error);
  if (!access_.authorities.empty())
    curl_easy_setopt(curl, folder ? CURLOPT_CAPATH : CURLOPT_CAINFO, access_.authorities.c_str());
  if (!access_.client_certificate.empty()) curl_easy_setopt(curl, CURLOPT_SSLCERT, access_.client_certificate.c_str());
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(timeout_)));
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, kConnectMs);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &taken);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &taken);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, stops);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, call_->stop);
  const CURLcode code = curl_easy_perform(curl);
  if (code == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError("stopped");
  if (code != CURLE_OK) return absl::UnavailableError(absl::StrCat(access_.address, ": ", curl_easy_strerror(code)));
  Answer answer{0, std::move(taken.body), taken.retry_after};
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.code);
  return answer;
}

absl::StatusOr<Json> MlflowServer::read(const absl::StatusOr<Answer>& answer) {
  asked_to_wait_ = absl::ZeroDuration();
  if (!answer.ok()) return answer.status();
  asked_to_wait_ = answer->retry_after;
  const Json json = Json::parse(answer->body, nullptr, false);
  if (answer->code >= 200 && answer->code < 300) {
    if (!json.is_object()) return strange(access_.address);
    return json;
  }
  // {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "…"}; what a proxy says is another thing.
  const std::string error = text_at(json, {"error_code"});
  const std::string reason = bounded_text(text_at(json, {"message"}), kLongestReason);
  const std::string what = absl::StrCat(access_.address, " answers ", answer->code, reason.empty() ? "" : ": ", reason);
  const bool transient = answer->code == 408 || answer->code == 425 || answer->code == 429 || answer->code >= 500;
  if (transient) return absl::UnavailableError(what);
  if (answer->code == 401 || answer->code == 403) {
    return absl::PermissionDeniedError(
        absl::StrCat(what,
                     "; MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, say "
                     "who asks"));
  }
  if (error == "RESOURCE_DOES_NOT_EXIST") return absl::NotFoundError(what);
  if (error == "RESOURCE_ALREADY_EXISTS") return absl::AlreadyExistsError(what);
  if (answer->code >= 300 && answer->code < 400)
    return absl::FailedPreconditionError(absl::StrCat(what, "; redirects are not followed"));
  return absl::FailedPreconditionError(what);
}

absl::StatusOr<Json> MlflowServer::get(const std::string& path, const std::string& key, const std::string& value) {
  const std::unique_ptr<char, void (*)(void*)> escaped(
      curl_easy_escape(call_->handle.get(), value.c_str(), static_cast<int>(value.size())), curl_free);
  if (escaped == nullptr) return absl::UnavailableError("libcurl has no memory");
  return read(call(absl::StrCat(access_.address, "/api/2.0/mlflow/", path, "?", key, "=", escaped.get()), nullptr));
}

absl::StatusOr<Json> MlflowServer::post(const std::string& path, const Json& body) {
  const std::string text = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return read(call(absl::StrCat(access_.address, "/api/2.0/mlflow/", path), &text));
}

absl::StatusOr<std::string> MlflowServer::experiment(const std::string& name) {
  absl::StatusOr<Json> found = get("experiments/get-by-name", "experiment_name", name);
  if (absl::IsNotFound(found.status())) {
    const absl::StatusOr<Json> made = post("experiments/create", {{"name", name}});
    if (made.ok()) {
      std::string id = text_at(*made, {"experiment_id"});
      if (id.empty()) return strange(access_.address);
      return id;
    }
    // Another run was faster.
    if (!absl::IsAlreadyExists(made.status())) return made.status();
    found = get("experiments/get-by-name", "experiment_name", name);
  }
  if (!found.ok()) return found.status();
  if (text_at(*found, {"experiment", "lifecycle_stage"}) == "deleted") {
    return absl::FailedPreconditionError(
        absl::StrCat("the experiment \"", name, "\" is deleted at ", access_.address,
                     "; `mlflow experiments restore` brings it back, or tracking.experiment names another"));
  }
  std::string id = text_at(*found, {"experiment", "experiment_id"});
  if (id.empty()) return strange(access_.address);
  return id;
}

absl::StatusOr<std::string> MlflowServer::create_run(const std::string& experiment_id, const std::string& name,
                                                     int64_t start_ms, const MlflowPairs& tags) {
  ASSIGN_OR_RETURN(
      const Json made,
      post("runs/create",
           {{"experiment_id", experiment_id}, {"run_name", name}, {"start_time", start_ms}, {"tags", listed(tags)}}));
  std::string id = text_at(made, {"run", "info", "run_id"});
  if (id.empty()) return strange(access_.address);
  return id;
}

absl::StatusOr<std::string> MlflowServer::find_run(const std::string& experiment_id, const std::string& tag,
                                                   const std::string& value) {
  ASSIGN_OR_RETURN(const Json found, post("runs/search", {{"experiment_ids", Json::array({experiment_id})},
                                                          {"filter", absl::StrCat("tags.`", tag, "` = '", value, "'")},
                                                          {"max_results", 1}}));
  if (!found.contains("runs") || !found["runs"].is_array() || found["runs"].empty())
    return absl::NotFoundError("there is no such run");
  std::string id = text_at(found["runs"][0], {"info", "run_id"});
  if (id.empty()) return strange(access_.address);
  return id;
}

absl::Status MlflowServer::log(const std::string& run_id, const std::vector<MlflowMetric>& metrics,
                               const MlflowPairs& parameters, const MlflowPairs& tags) {
  Json list = Json::array();
  for (const MlflowMetric& metric : metrics) {
    list.push_back(
        {{"key", metric.name}, {"value", metric.value}, {"timestamp", metric.time_ms}, {"step", metric.step}});
  }
  return post(
             "runs/log-batch",
             {{"run_id", run_id}, {"metrics", std::move(list)}, {"params", listed(parameters)}, {"tags", listed(tags)}})
      .status();
}

absl::Status MlflowServer::update(const std::string& run_id, const std::string& status, int64_t end_ms) {
  Json body = {{"run_id", run_id}, {"status", status}};
  if (end_ms > 0) body["end_time"] = end_ms;
  return post("runs/update", body).status();
}

}  // namespace galleon
