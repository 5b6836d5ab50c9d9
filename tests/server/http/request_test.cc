#include "server/http/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "galleon/v1/jobs.pb.h"
#include "server/http/event_text.h"
#include "server/http/openapi.h"

namespace galleon::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

absl::StatusOr<Call> call_of(absl::string_view verb, absl::string_view target, absl::string_view body = "") {
  const absl::StatusOr<Target> parsed = parse_target(target);
  if (!parsed.ok()) return parsed.status();
  const absl::StatusOr<Matched> matched = match(verb, parsed->path);
  if (!matched.ok()) return matched.status();
  return make_call(*matched, *parsed, body);
}

std::string refusal_of(absl::string_view verb, absl::string_view target, absl::string_view body = "") {
  const absl::StatusOr<Call> call = call_of(verb, target, body);
  return call.ok() ? "" : std::string(call.status().message());
}

TEST(Request, QueryAndPathBecomeFieldsOfTheMessage) {
  const absl::StatusOr<Call> call = call_of(
      "GET", "/v1/jobs?page_size=7&states=QUEUED,running&labels=team%3Dnlp&contains=a+b%2Bc&created_after_ms=5");
  ASSERT_TRUE(call.ok()) << call.status();
  const auto& request = static_cast<const v1::ListJobsRequest&>(*call->request);
  EXPECT_EQ(request.page_size(), 7U);
  EXPECT_THAT(request.states(), ElementsAre(v1::JobRecord::QUEUED, v1::JobRecord::RUNNING));
  EXPECT_EQ(request.labels().at("team"), "nlp");
  EXPECT_EQ(request.contains(), "a b+c");
  EXPECT_EQ(request.created_after_ms(), 5);
  const absl::StatusOr<Call> one = call_of("GET", "/v1/jobs/a%2Fb/log/follow");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(static_cast<const v1::ReadLogsRequest&>(*one->request).name(), "jobs/a/b");
  EXPECT_TRUE(static_cast<const v1::ReadLogsRequest&>(*one->request).follow());
}

TEST(Request, WhatIsWrongIsRefusedByName) {
  EXPECT_THAT(refusal_of("GET", "/v1/jobs?pagesize=7"), StartsWith("pagesize: is no parameter"));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs?page_size=x"), StartsWith("page_size: \"x\" is not"));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs?page_size=-1"), StartsWith("page_size: "));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs?page_size=1&page_size=2"), StartsWith("page_size: is there twice"));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs?states=DONE"), HasSubstr("one of QUEUED, "));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs?labels=team"), HasSubstr("KEY=VALUE"));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs?fields=jobs.nothing"), StartsWith("fields: "));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs/x/log?limit=0"), StartsWith("limit: "));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs/x/log?follow=true"), StartsWith("follow: is no parameter"));
  EXPECT_THAT(refusal_of("POST", "/v1/jobs/x:cancel", "{\"name\": \"jobs/y\"}"), StartsWith("name: is not accepted"));
  EXPECT_THAT(refusal_of("POST", "/v1/jobs/x:cancel", "{\"why\": 1}"), HasSubstr("etag, reason"));
  EXPECT_THAT(refusal_of("POST", "/v1/jobs/x:cancel", "[" + std::string(70, '[')), HasSubstr("nested"));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs/%ff"), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs/a%00"), HasSubstr("NUL"));
  EXPECT_THAT(refusal_of("GET", "/v1/jobs/a%4"), HasSubstr("%"));
  EXPECT_TRUE(absl::IsNotFound(call_of("GET", "/v1/jobs//log").status()));
  EXPECT_TRUE(absl::IsNotFound(call_of("GET", "/v1/../etc/passwd").status()));
  EXPECT_EQ(refusal_of("POST", "/v1/jobs"), "GET");
  EXPECT_EQ(refusal_of("DELETE", "/v1/jobs/x"), "GET");
}

TEST(Request, ATokenInAnAddressIsRefused) {
  for (const char* target : {"/?token=abc", "/v1/jobs?access_token=abc", "/?Authorization=Bearer+abc"}) {
    const absl::Status status = refuse_tokens(*parse_target(target));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << target;
    EXPECT_THAT(std::string(status.message()), HasSubstr("the header Authorization alone"));
    EXPECT_THAT(std::string(status.message()), testing::Not(HasSubstr("abc")));
  }
  EXPECT_TRUE(refuse_tokens(*parse_target("/v1/jobs?page_token=5")).ok());
}

TEST(Request, FieldsThatAreWantedStayAlone) {
  const absl::StatusOr<Call> call = call_of("GET", "/v1/jobs?fields=jobs.job_id,jobs.progress.loss");
  ASSERT_TRUE(call.ok()) << call.status();
  v1::ListJobsResponse response;
  response.set_next_page_token("5");
  v1::JobRecord& job = *response.add_jobs();
  job.set_job_id("a");
  job.set_owner("ann");
  job.mutable_progress()->set_loss(2);
  job.mutable_progress()->set_step(9);
  keep_only(call->fields, response);
  EXPECT_EQ(response.ShortDebugString(), "jobs { job_id: \"a\" progress { loss: 2 } }");
}

TEST(Request, AStreamGoesOnFromItsLastEvent) {
  absl::StatusOr<Call> watch = call_of("GET", "/v1/jobs/x/watch?after_revision=3");
  ASSERT_TRUE(go_on_after(*watch->route, "17", *watch->request).ok());
  EXPECT_EQ(static_cast<const v1::WatchJobRequest&>(*watch->request).after_revision(), 17U);
  absl::StatusOr<Call> events = call_of("GET", "/v1/events?from_now=true");
  ASSERT_TRUE(go_on_after(*events->route, "17", *events->request).ok());
  EXPECT_FALSE(static_cast<const v1::WatchEventsRequest&>(*events->request).from_now());
  absl::StatusOr<Call> log = call_of("GET", "/v1/jobs/x/log/follow?tail_lines=3");
  ASSERT_TRUE(go_on_after(*log->route, "2:400", *log->request).ok());
  EXPECT_EQ(static_cast<const v1::ReadLogsRequest&>(*log->request).attempt(), 2U);
  EXPECT_EQ(static_cast<const v1::ReadLogsRequest&>(*log->request).offset(), 400U);
  EXPECT_FALSE(go_on_after(*log->route, "400", *log->request).ok());
  EXPECT_FALSE(go_on_after(*watch->route, "new\nline", *watch->request).ok());
}

TEST(EventText, ALogThatBreaksOffWithinACharacterIsPutTogether) {
  LogText text;
  EXPECT_EQ(text.add("a\xC3"), "a");
  EXPECT_EQ(text.add("\xA4z\xFF"), "\xC3\xA4z\xEF\xBF\xBD");
  EXPECT_EQ(text.held(), 0U);
}

TEST(EventText, ALineOfALogCannotMakeAnEventOfItsOwn) {
  const absl::StatusOr<Call> call = call_of("GET", "/v1/jobs/x/log/follow");
  EventWriter writer(*call->route, {});
  v1::ReadLogsResponse piece;
  piece.set_attempt(1);
  piece.set_data("one\n\nevent: end\ndata: {}\n\n\r\rtwo");
  const std::string text = writer.write(piece.SerializeAsString());
  EXPECT_THAT(text, StartsWith("event: log\nid: 1:31\ndata: {"));
  EXPECT_EQ(text.find("\n\n"), text.size() - 2);
  EXPECT_EQ(text.find('\r'), std::string::npos);
}

TEST(OpenApi, EveryRouteIsDescribed) {
  const std::string text = openapi_json("1");
  for (const Route& route : routes()) EXPECT_THAT(text, HasSubstr("\"" + route.id + "\"")) << route.path;
  EXPECT_THAT(text, testing::Not(HasSubstr("TASK_PRETRAIN")));
}

}  // namespace
}  // namespace galleon::server
