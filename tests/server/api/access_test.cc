#include "server/api/access.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace galleon::server {
namespace {

TEST(Access, ARoleCoversThoseBelowItAndWorkersAreApart) {
  const Caller caller{"ann", false, {{"lab", Role::kSubmitter}, {"*", Role::kViewer}}};
  EXPECT_TRUE(caller.may(Role::kSubmitter, "lab"));
  EXPECT_TRUE(caller.may(Role::kViewer, "lab"));
  EXPECT_TRUE(caller.may(Role::kViewer, "other"));
  EXPECT_FALSE(caller.may(Role::kSubmitter, "other"));
  EXPECT_FALSE(caller.may(Role::kOperator, "lab"));
  EXPECT_FALSE(caller.may(Role::kWorker, "lab"));
  EXPECT_TRUE(caller.may_anywhere(Role::kSubmitter));
  const Caller worker{"w", false, {{"*", Role::kWorker}}};
  EXPECT_TRUE(worker.may(Role::kWorker, "*"));
  EXPECT_FALSE(worker.may(Role::kViewer, "lab"));
  EXPECT_FALSE((Caller{"x", false, {}}).may_anywhere(Role::kViewer));
  // A job without a project is for those who may see all.
  EXPECT_FALSE((Caller{"x", false, {{"", Role::kViewer}}}).may(Role::kViewer, ""));
  EXPECT_TRUE((Caller{"x", false, {{"*", Role::kViewer}}}).may(Role::kViewer, ""));
}

TEST(Access, WhatIsWrongInTheFileIsNamedWithItsLine) {
  for (const auto& [yaml, part] : std::vector<std::pair<std::string, std::string>>{
           {"[]", "a mapping \"principals\""},
           {"principals:\n  a: {roles: {x: viewer}}", "f:2: a: certificate or token_sha256 must be given"},
           {"principals:\n  a: {certificate: c, roles: {x: king}}", "a.roles.x: \"king\" is not a role; viewer"},
           {"principals:\n  a: {token: secret}", "a has no key \"token\"; there are certificate"},
           {"principals:\n  a: {token_sha256: 12}", "64 hexadecimal digits"},
           {"principals:\n  a: {certificate: c}\n  b: {certificate: c}",
            "f:3: b: its certificate or token is another's"},
           {"principals:\n  a: {certificate: c}\n  a: {certificate: d}", "f:3: a is there twice"},
           {"principals:\n  '': {certificate: c}", "f:2: a principal needs a name"},
       }) {
    const absl::Status status = Access::parse(yaml, "f").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "secret"));
  }
}

}  // namespace
}  // namespace galleon::server
