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

TEST(Access, AWorkersCertificateIsBoundToNamesAndLabels) {
  const absl::StatusOr<Access> access = Access::parse(
      "principals:\n"
      "  a: {certificate: a, roles: {'*': worker}, workers: [w1, 'gpu-*'], labels: {zone: north}}\n"
      "  b: {certificate: b, roles: {'*': worker}}\n",
      "f");
  ASSERT_TRUE(access.ok()) << access.status();
  const Caller a = *access->identify("a", "");
  EXPECT_TRUE(a.may_be_worker("w1").ok());
  EXPECT_TRUE(a.may_be_worker("gpu-").ok());
  EXPECT_TRUE(a.may_be_worker("gpu-17").ok());
  for (const char* other : {"w2", "w11", "gpu", "", "xgpu-1"})
    EXPECT_EQ(a.may_be_worker(other).code(), absl::StatusCode::kPermissionDenied) << other;
  EXPECT_TRUE(a.may_have_label("zone", "north").ok());
  EXPECT_FALSE(a.may_have_label("zone", "south").ok());
  EXPECT_FALSE(a.may_have_label("gpu", "h200").ok());
  const Caller b = *access->identify("b", "");
  EXPECT_TRUE(b.may_be_worker("anything").ok());
  EXPECT_TRUE(b.may_have_label("zone", "south").ok());
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
           {"principals:\n  a: {certificate: c, roles: {'*': worker}, workers: ['*w']}", "'*' at the end or nowhere"},
           {"principals:\n  a: {certificate: c, roles: {'*': viewer}, workers: [w]}", "belong to the role worker"},
       }) {
    const absl::Status status = Access::parse(yaml, "f").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "secret"));
  }
}

}  // namespace
}  // namespace galleon::server
