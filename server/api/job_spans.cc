#include "server/api/job_spans.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/net/certificates.h"
#include "common/net/trace_id.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr uint64_t kNanosecondsOfMs = 1'000'000;

class Builder {
 public:
  explicit Builder(const v1::JobRecord& record)
      : record_(record), trace_id_(trace_id_of(record.job_id(), record.create_time_ms())) {}

  std::string id(absl::string_view what, uint64_t number) const {
    return absl::HexStringToBytes(sha256_hex(absl::StrCat(trace_id_, what, number)).substr(0, 16));
  }
  otlp::Span& add(const std::string& id, const std::string& parent, const std::string& name, int64_t from_ms,
                  int64_t until_ms) {
    otlp::Span& span = spans.emplace_back();
    span.set_trace_id(absl::HexStringToBytes(trace_id_));
    span.set_span_id(id);
    span.set_parent_span_id(parent);
    span.set_name(name);
    span.set_kind(otlp::Span::SPAN_KIND_INTERNAL);
    span.set_start_time_unix_nano(static_cast<uint64_t>(from_ms) * kNanosecondsOfMs);
    // A clock that was set back makes no span that ends before it begins.
    span.set_end_time_unix_nano(static_cast<uint64_t>(std::max(from_ms, until_ms)) * kNanosecondsOfMs);
    text(span, "galleon.job.id", record_.job_id());
    return span;
  }
  static void text(otlp::Span& span, const std::string& key, const std::string& value) {
    if (value.empty()) return;
    otlp::KeyValue& attribute = *span.add_attributes();
    attribute.set_key(key);
    attribute.mutable_value()->set_string_value(value);
  }
  static void number(otlp::Span& span, const std::string& key, uint64_t value) {
    otlp::KeyValue& attribute = *span.add_attributes();
    attribute.set_key(key);
    attribute.mutable_value()->set_int_value(static_cast<int64_t>(value));
  }
  std::string root() const { return id("job", 0); }
  std::string attempt(uint32_t number) const { return id("attempt", number); }

  std::vector<otlp::Span> spans;

 private:
  const v1::JobRecord& record_;
  const std::string trace_id_;
};

void fail(otlp::Span& span, const std::string& message) {
  span.mutable_status()->set_code(otlp::Status::STATUS_CODE_ERROR);
  span.mutable_status()->set_message(message);
}

void add_attempt(Builder& builder, const v1::Attempt& attempt) {
  otlp::Span& span =
      builder.add(builder.attempt(attempt.number()), builder.root(), absl::StrCat("attempt ", attempt.number()),
                  attempt.start_time_ms(), attempt.end_time_ms());
  Builder::text(span, "galleon.attempt.outcome", v1::Attempt::Outcome_Name(attempt.outcome()));
  Builder::number(span, "galleon.attempt.resumed_from_step", attempt.resumed_from_step());
  Builder::number(span, "galleon.attempt.last_step", attempt.last_step());
  if (attempt.outcome() == v1::Attempt::FAILED || attempt.outcome() == v1::Attempt::LOST) fail(span, attempt.message());
}

void add_job(Builder& builder, const v1::JobRecord& record) {
  otlp::Span& span =
      builder.add(builder.root(), "", record.job().name(), record.create_time_ms(), record.end_time_ms());
  Builder::text(span, "galleon.job.state", v1::JobRecord::State_Name(record.state()));
  Builder::text(span, "galleon.job.queue", record.queue());
  Builder::text(span, "galleon.job.owner", record.owner());
  Builder::number(span, "galleon.job.attempts", record.attempts());
  if (record.state() == v1::JobRecord::FAILED) fail(span, record.message());
}

}  // namespace

std::vector<otlp::Span> JobSpans::of(const v1::JobState& job, bool all) {
  const v1::JobRecord& record = job.record();
  const auto [it, fresh] = seen_.try_emplace(record.job_id());
  Seen& seen = it->second;
  if (fresh && !all) {
    for (const v1::AttemptState& one : job.attempts()) {
      seen.begun = std::max(seen.begun, one.attempt().number());
      if (one.attempt().end_time_ms() > 0) seen.ended = std::max(seen.ended, one.attempt().number());
    }
    seen.step = record.checkpoint().step();
    seen.step_time_ms = record.checkpoint().time_ms();
    seen.told = is_terminal(record.state());
  }
  Builder builder(record);
  int64_t waits_from_ms = record.create_time_ms();
  for (const v1::AttemptState& one : job.attempts()) {
    const v1::Attempt& attempt = one.attempt();
    if (attempt.number() > seen.begun && attempt.start_time_ms() > 0) {
      seen.begun = attempt.number();
      seen.step_time_ms = attempt.start_time_ms();
      if (seen.step < attempt.resumed_from_step()) seen.step = attempt.resumed_from_step();
      builder.add(builder.id("queued", attempt.number()), builder.root(), "queued", waits_from_ms,
                  attempt.start_time_ms());
    }
    const v1::PublishedCheckpoint& checkpoint = record.checkpoint();
    if (checkpoint.epoch() == attempt.epoch() && checkpoint.step() > seen.step) {
      otlp::Span& span = builder.add(builder.id("steps", checkpoint.step()), builder.attempt(attempt.number()),
                                     absl::StrCat("steps ", seen.step + 1, " to ", checkpoint.step()),
                                     std::max(seen.step_time_ms, attempt.start_time_ms()), checkpoint.time_ms());
      Builder::text(span, "galleon.checkpoint.folder", checkpoint.folder());
      seen.step = checkpoint.step();
      seen.step_time_ms = checkpoint.time_ms();
    }
    if (attempt.end_time_ms() > 0) {
      if (attempt.number() > seen.ended) {
        seen.ended = attempt.number();
        add_attempt(builder, attempt);
      }
      waits_from_ms = attempt.end_time_ms();
    }
  }
  const bool ended = is_terminal(record.state());
  if (ended && !seen.told) add_job(builder, record);
  // Somebody may have it go on.
  seen.told = ended;
  return std::move(builder.spans);
}

}  // namespace galleon::server
