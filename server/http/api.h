// What is answered to which request: the page, the description, and the services' methods.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "server/http/backend.h"
#include "server/http/exchange.h"
#include "server/http/request.h"
#include "server/http/shared_answers.h"

namespace galleon::server {

class Api {
 public:
  struct Options {
    std::string version;
    std::string inside;
    std::shared_ptr<grpc::Channel> channel;  // into this process
    // Nobody has to say who they are. Then a browser must not be used by pages of others: they are told apart by the
    // headers Host and Origin, as no token does it.
    bool anybody = false;
    bool loopback = true;  // it listens on loopback
    // Runs something on the server's thread. From any thread; what comes after the server's end is dropped.
    std::function<void(std::function<void()>)> post;
    // The same after a while.
    std::function<void(std::function<void()>)> post_soon;
    // Another number whenever somebody may have lost a role: answers of before are not shared with anybody then.
    std::function<uint64_t()> access_generation = [] { return 0; };
  };

  explicit Api(Options options);
  void handle(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);

 private:
  void handle_call(const HttpRequest& request, const Target& target, const std::shared_ptr<Exchange>& exchange);
  void answer(const std::shared_ptr<const Call>& call, const Identity& identity, std::function<void(HttpReply)> done);
  // An answer that the caller takes though it is so old.
  void share(const std::shared_ptr<const Call>& call, const Identity& identity, const std::string& target,
             absl::Duration age, const std::shared_ptr<Exchange>& exchange);
  void stream(Call call, const Identity& identity, const std::shared_ptr<Exchange>& exchange);
  void read_text(Call call, const Identity& identity, const std::shared_ptr<Exchange>& exchange);

  const Options options_;
  Backend backend_;
  SharedAnswers shared_;
  const std::string openapi_;
};

}  // namespace galleon::server
