// What is told of files that are read again.
#include "server/api/reload.h"

#include <gtest/gtest.h>

namespace galleon::server {
namespace {

std::vector<std::string> list(const google::protobuf::RepeatedPtrField<std::string>& from) {
  return {from.begin(), from.end()};
}
using Names = std::vector<std::string>;

TEST(Reload, QueuesThatWereAddedRemovedAndChangedAreToldApart) {
  const std::vector<QueueConfig> before = {
      {"default", 1, 0, 0, "default"}, {"old", 1, 0, 0, "p"}, {"lab", 1, 2, 0, "p"}};
  const std::vector<QueueConfig> now = {{"lab", 2, 2, 4, "q"}, {"default", 1, 0, 0, "default"}, {"new", 1, 0, 0, "p"}};
  v1::ReloadResponse response;
  *response.mutable_queues() = changes(before, now);
  EXPECT_EQ(list(response.queues().added()), Names{"new"});
  EXPECT_EQ(list(response.queues().removed()), Names{"old"});
  EXPECT_EQ(list(response.queues().changed()),
            Names{"lab: weight 2, was 1; limit_slots 4, was none; project q, was p (jobs that are there stay in it)"});
  EXPECT_EQ(summary(response),
            "queues: added new; removed old; changed lab: weight 2, was 1; limit_slots 4, was none; "
            "project q, was p (jobs that are there stay in it)");
  EXPECT_EQ(summary(v1::ReloadResponse()), "nothing has changed");
}

TEST(Reload, OfPrincipalsNoSecretIsToldNotEvenAsAHash) {
  const std::string first(64, 'a');
  const std::string second(64, 'b');
  const auto access = [](const std::string& lines) { return *Access::parse("principals:\n" + lines, "f"); };
  const Access before = access("  ann: {token_sha256: " + first + ", roles: {lab: viewer}}\n  bob: {certificate: b}\n");
  const Access now = access("  ann: {token_sha256: " + second + ", roles: {lab: submitter}}\n  cy: {certificate: b}\n");
  v1::ReloadResponse response;
  *response.mutable_principals() = changes(before, now);
  EXPECT_EQ(summary(response), "principals: added cy; removed bob; changed ann: token_sha256, roles");
}

}  // namespace
}  // namespace galleon::server
