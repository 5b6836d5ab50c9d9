// How JobClient makes one unary call, for the files that define its methods.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "client/job_client.h"

namespace galleon {

template <typename Response, typename Call>
absl::StatusOr<Response> JobClient::call(absl::Duration timeout, Call once, absl::Time latest) {
  absl::Time give_up = std::min(absl::Now() + retry_timeout_, latest);
  bool failed = false;
  absl::Duration pause = absl::Milliseconds(100);
  while (true) {
    // A scheduler that restarts is seen at once, where a call that fails fast would wait for the channel's timer.
    channel_->WaitForConnected(absl::ToChronoTime(std::min(absl::Now() + absl::Milliseconds(500), latest)));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(std::min(absl::Now() + timeout, latest)));
    Response response;
    const grpc::Status status = once(context, response);
    if (status.ok()) return response;
    // One that hung has taken of the time in which another is looked for.
    if (several_ && !std::exchange(failed, true)) give_up = std::min(absl::Now() + retry_timeout_, latest);
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE || absl::Now() + pause > give_up) return from_grpc(status);
    look_elsewhere(context);
    absl::SleepFor(pause);
    // Of several, another may serve at any moment.
    pause = std::min(pause * 2, several_ ? absl::Milliseconds(200) : absl::Seconds(1));
  }
}

}  // namespace galleon
