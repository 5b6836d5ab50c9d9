#include "worker/daemon/allowed_tracking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace galleon {
namespace {

using testing::HasSubstr;

v1::Job job_that_tells(const std::string& address) {
  v1::Job job;
  job.mutable_tracking()->set_mlflow(address);
  return job;
}

TEST(AllowedTracking, IsWhatTheOperatorHasNamedAndWhatLiesBelow) {
  const std::vector<std::string> trackers =
      *resolve_trackers({"https://MLflow.example/team/", "http://127.0.0.1:5000"});
  EXPECT_TRUE(check_tracking(v1::Job(), trackers).ok());
  EXPECT_TRUE(check_tracking(job_that_tells("https://mlflow.example:443/team"), trackers).ok());
  EXPECT_TRUE(check_tracking(job_that_tells("https://mlflow.example/team/a"), trackers).ok());
  for (const char* address : {"https://mlflow.example", "https://mlflow.example/teams", "http://mlflow.example/team",
                              "http://127.0.0.1:5001", "http://169.254.169.254", "https://mlflow.example.evil/team"}) {
    const absl::Status status = check_tracking(job_that_tells(address), trackers);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << address;
    EXPECT_THAT(std::string(status.message()), HasSubstr("start the worker with --allow-tracking")) << address;
  }
}

TEST(AllowedTracking, IsNothingWhereNothingIsNamed) {
  EXPECT_EQ(check_tracking(job_that_tells("http://127.0.0.1:5000"), {}).message(),
            "tracking.mlflow: http://127.0.0.1:5000 is not what this worker lets jobs call; start the worker with "
            "--allow-tracking");
}

TEST(AllowedTracking, WhatIsNoAddressIsRefusedByName) {
  EXPECT_THAT(std::string(resolve_trackers({"s3://team/runs"}).status().message()),
              HasSubstr("--allow-tracking: s3:// is not spoken"));
  EXPECT_THAT(std::string(resolve_trackers({"http://ann:secret@mlflow"}).status().message()),
              testing::Not(HasSubstr("secret")));
  // A job that did not go through the scheduler's checks.
  for (const char* address :
       {"", "file:///etc/passwd", "https://mlflow.example/team/../admin", "http://a@127.0.0.1:5000"})
    EXPECT_EQ(check_tracking(job_that_tells(address), {"https://mlflow.example/team"}).code(),
              absl::StatusCode::kInvalidArgument)
        << address;
}

}  // namespace
}  // namespace galleon
