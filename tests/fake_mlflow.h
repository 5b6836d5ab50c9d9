// An MLflow server on loopback, in the test's process: the calls that Galleon makes, on a store that outlives it, and
// answers that a test prescribes.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"

namespace galleon {

struct FakeMlflowRun {
  std::string experiment_id;
  std::string name;
  std::string status = "RUNNING";
  int64_t start_ms = 0;
  int64_t end_ms = 0;
  std::map<std::string, std::string> tags;
  std::map<std::string, std::string> parameters;
  std::vector<std::tuple<std::string, int64_t, double, int64_t>> metrics;  // name, step, value, time
};

class FakeMlflow {
 public:
  using Json = nlohmann::json;
  // Instead of obeying: a status; kHangUp: no answer; kNever: none until the caller goes. kLost: obeys, and hangs up.
  static constexpr int kHangUp = -1;
  static constexpr int kNever = -2;
  static constexpr int kLost = -3;

  FakeMlflow() { start(0); }
  ~FakeMlflow() { stop(); }

  // The server goes, and comes again at the same port with all that it knew.
  void stop() {
    ends_ = true;
    if (thread_.joinable()) thread_.join();
    listener_.reset();
  }
  void start() { start(port_); }

  std::string url() const { return absl::StrCat("http://127.0.0.1:", port_); }
  // What is answered to the next calls, one each; then it obeys again.
  void answer_next(const std::vector<int>& answers) {
    const std::lock_guard<std::mutex> lock(mutex_);
    answers_.assign(answers.begin(), answers.end());
  }
  // What is answered to all calls from now on; 0: it obeys.
  void answer_all(int answer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    always_ = answer;
  }
  std::map<std::string, FakeMlflowRun> runs() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return runs_;
  }
  // Of the only run.
  FakeMlflowRun run() const {
    const std::map<std::string, FakeMlflowRun> all = runs();
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? FakeMlflowRun() : all.begin()->second;
  }
  void forget_runs() {
    const std::lock_guard<std::mutex> lock(mutex_);
    runs_.clear();
  }
  void add_experiment(const std::string& name, bool deleted) {
    const std::lock_guard<std::mutex> lock(mutex_);
    experiments_[name] = {std::to_string(experiments_.size()), deleted};
  }
  size_t calls() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return calls_.size();
  }
  // Whole heads of requests.
  std::vector<std::string> heads() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return calls_;
  }

 private:
  struct Experiment {
    std::string id;
    bool deleted = false;
  };

  void start(int port) {
    ends_ = false;
    listener_ = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int reuse = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    ASSERT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener_.get(), 16), 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      while (readable(listener_.get())) {
        const FileDescriptor connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        converse(connection.get());
      }
    });
  }

  bool readable(int fd) const {
    pollfd ready{fd, POLLIN, 0};
    while (!ends_) {
      if (::poll(&ready, 1, 10) > 0) return true;
    }
    return false;
  }

  void converse(int fd) {
    std::string text;
    char piece[1 << 14];
    size_t head = std::string::npos;
    size_t length = 0;
    while (head == std::string::npos || text.size() < head + length) {
      if (!readable(fd)) return;
      const ssize_t size = ::recv(fd, piece, sizeof(piece), 0);
      if (size <= 0) return;
      text.append(piece, static_cast<size_t>(size));
      if (head != std::string::npos || text.find("\r\n\r\n") == std::string::npos) continue;
      head = text.find("\r\n\r\n") + 4;
      const std::string small = absl::AsciiStrToLower(text.substr(0, head));
      const size_t at = small.find("content-length: ");
      if (at != std::string::npos) length = std::stoul(small.substr(at + 16));
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    calls_.push_back(text.substr(0, head));
    int answer = always_;
    if (!answers_.empty()) {
      answer = answers_.front();
      answers_.pop_front();
    }
    if (answer == kHangUp) return;
    if (answer == kNever) {
      (void)readable(fd);
      return;
    }
    int code = answer;
    Json body = {{"error_code", "INTERNAL_ERROR"}, {"message", "as the test says"}};
    if (answer == 0 || answer == kLost) {
      const std::vector<std::string> words = absl::StrSplit(text.substr(0, text.find('\r')), ' ');
      std::tie(code, body) = obey(words[1], text.substr(head));
    }
    if (answer == kLost) return;
    const std::string content = body.dump();
    const std::string reply =
        absl::StrCat("HTTP/1.1 ", code, " X\r\n", code == 429 ? "Retry-After: 1\r\n" : "",
                     code == 302 ? "Location: /elsewhere\r\n" : "", "Content-Type: application/json\r\n",
                     "Connection: close\r\nContent-Length: ", content.size(), "\r\n\r\n", content);
    ::send(fd, reply.data(), reply.size(), MSG_NOSIGNAL);
  }

  static std::pair<int, Json> unknown() {
    return {404, {{"error_code", "RESOURCE_DOES_NOT_EXIST"}, {"message", "it is not there"}}};
  }

  std::pair<int, Json> obey(const std::string& path, const std::string& text) {
    const std::string call = path.substr(std::string("/api/2.0/mlflow/").size());
    const Json body = text.empty() ? Json::object() : Json::parse(text);
    if (absl::StartsWith(call, "experiments/get-by-name?experiment_name=")) {
      const auto found = experiments_.find(call.substr(call.find('=') + 1));
      if (found == experiments_.end()) return unknown();
      const char* stage = found->second.deleted ? "deleted" : "active";
      return {200, {{"experiment", {{"experiment_id", found->second.id}, {"lifecycle_stage", stage}}}}};
    }
    if (call == "experiments/create") {
      const std::string id = std::to_string(experiments_.size());
      experiments_[body["name"]] = {id, false};
      return {200, {{"experiment_id", id}}};
    }
    if (call == "runs/create") return create(body);
    if (call == "runs/search") return search(body);
    const auto run = runs_.find(body.value("run_id", ""));
    if (run == runs_.end()) return unknown();
    if (call == "runs/update") {
      run->second.status = body["status"];
      run->second.end_ms = body.value("end_time", int64_t{0});
      return {200, {{"run_info", {{"run_id", run->first}}}}};
    }
    EXPECT_EQ(call, "runs/log-batch");
    return log(run->second, body);
  }

  std::pair<int, Json> create(const Json& body) {
    const std::string id = absl::StrCat("run", runs_.size() + 1);
    FakeMlflowRun& run = runs_[id];
    run.experiment_id = body["experiment_id"];
    run.name = body["run_name"];
    run.start_ms = body["start_time"];
    for (const Json& tag : body["tags"]) run.tags[tag["key"]] = tag["value"];
    return {200, {{"run", {{"info", {{"run_id", id}}}}}}};
  }

  std::pair<int, Json> search(const Json& body) {
    Json found = Json::array();
    for (const auto& [id, run] : runs_) {
      for (const auto& [key, value] : run.tags) {
        if (body["filter"] == absl::StrCat("tags.`", key, "` = '", value, "'"))
          found.push_back({{"info", {{"run_id", id}}}});
      }
    }
    return {200, found.empty() ? Json::object() : Json{{"runs", found}}};
  }

  static std::pair<int, Json> log(FakeMlflowRun& run, const Json& body) {
    EXPECT_LE(body["metrics"].size(), 1000U);
    EXPECT_LE(body["params"].size(), 100U);
    EXPECT_LE(body["metrics"].size() + body["params"].size() + body["tags"].size(), 1000U);
    for (const Json& parameter : body["params"]) {
      const auto [known, added] = run.parameters.emplace(parameter["key"], parameter["value"]);
      if (!added && known->second != parameter["value"])
        return {400, {{"error_code", "INVALID_PARAMETER_VALUE"}, {"message", "parameters do not change"}}};
    }
    for (const Json& metric : body["metrics"])
      run.metrics.emplace_back(metric["key"], metric["step"], metric["value"], metric["timestamp"]);
    for (const Json& tag : body["tags"]) run.tags[tag["key"]] = tag["value"];
    return {200, Json::object()};
  }

  FileDescriptor listener_;
  int port_ = 0;
  std::atomic<bool> ends_{false};
  mutable std::mutex mutex_;
  std::deque<int> answers_;
  int always_ = 0;
  std::vector<std::string> calls_;
  std::map<std::string, Experiment> experiments_{{"Default", {"0", false}}};
  std::map<std::string, FakeMlflowRun> runs_;
  std::thread thread_;
};

}  // namespace galleon
