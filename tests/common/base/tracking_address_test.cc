#include "common/base/tracking_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace galleon {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(TrackingAddress, HasOneSpelling) {
  EXPECT_EQ(*tracking_address("http://127.0.0.1:5000"), "http://127.0.0.1:5000");
  EXPECT_EQ(*tracking_address("HTTPS://MLflow.Example:443//"), "https://mlflow.example");
  EXPECT_EQ(*tracking_address("http://mlflow:80/team/a/"), "http://mlflow/team/a");
  EXPECT_EQ(*tracking_address("http://mlflow:0443/Team"), "http://mlflow:443/Team");
  EXPECT_EQ(*tracking_address("http://[::1]:5000/a"), "http://[::1]:5000/a");
}

TEST(TrackingAddress, RefusesWhatIsNoneByName) {
  for (const char* text : {"", "mlflow", "databricks", "127.0.0.1:5000", "http://", "http:///path", "https://:5000",
                           "http://[::1", "http://[mlflow]:1", "http://ho st", "http://host\\x", "http://ho%73t"}) {
    const absl::Status status = tracking_address(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("http://HOST:PORT")) << text;
  }
  EXPECT_THAT(std::string(tracking_address("sqlite:///a.db").status().message()),
              testing::AllOf(HasSubstr("sqlite:// is not spoken"), HasSubstr("`mlflow server`")));
  EXPECT_THAT(std::string(tracking_address("databricks://profile").status().message()),
              HasSubstr("databricks:// is not spoken"));
  for (const char* text :
       {"http://a:0", "http://a:65536", "http://a:", "http://a:-1", "http://a:+80", "http://[::1]80"})
    EXPECT_THAT(std::string(tracking_address(text).status().message()), HasSubstr("port")) << text;
  for (const char* text : {"http://a/../b", "http://a/./b", "http://a//b", "http://a/%2e%2e/b", "http://a/b c"})
    EXPECT_THAT(std::string(tracking_address(text).status().message()), HasSubstr("path")) << text;
}

TEST(TrackingAddress, RefusesCredentialsAndRepeatsNoneOfThem) {
  for (const char* text : {"https://ann:secret@mlflow", "https://secret@mlflow/a", "http://a\\@secret:1/",
                           "https://mlflow/?token=secret", "https://mlflow#secret", "secret://ann:secret@mlflow"}) {
    const absl::Status status = tracking_address(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("secret@"))) << text;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("=secret"))) << text;
  }
  EXPECT_THAT(std::string(tracking_address("https://ann:secret@mlflow").status().message()),
              testing::AllOf(HasSubstr("MLFLOW_TRACKING_TOKEN"), Not(HasSubstr("secret"))));
}

TEST(TrackingAddress, LiesBelowAnotherNameByName) {
  const std::vector<std::string> roots{"https://mlflow/team", "http://127.0.0.1:5000"};
  EXPECT_TRUE(lies_below_tracking_address("https://mlflow/team", roots));
  EXPECT_TRUE(lies_below_tracking_address("https://mlflow/team/a", roots));
  EXPECT_TRUE(lies_below_tracking_address("http://127.0.0.1:5000/a", roots));
  EXPECT_FALSE(lies_below_tracking_address("https://mlflow/teams", roots));
  EXPECT_FALSE(lies_below_tracking_address("https://mlflow", roots));
  EXPECT_FALSE(lies_below_tracking_address("http://mlflow/team", roots));
  EXPECT_FALSE(lies_below_tracking_address("http://127.0.0.1:50001", roots));
  EXPECT_FALSE(lies_below_tracking_address("http://127.0.0.1:5000", {}));
}

}  // namespace
}  // namespace galleon
