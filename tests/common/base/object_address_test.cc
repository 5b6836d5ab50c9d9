#include "common/base/object_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace galleon {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ObjectAddress, IsKnownByItsScheme) {
  for (const char* text : {"s3://b/k", "gs://b", "https://x", "HF://x", "a+b-c.d://x"})
    EXPECT_TRUE(is_address(text)) << text;
  for (const char* text : {"", "/srv/x", "preset:tiny", "://x", "3s://x", "a b://x", "x:/y", "bytes"})
    EXPECT_FALSE(is_address(text)) << text;
}

TEST(ObjectAddress, WhatIsNotReadIsRefusedWithWhatToDo) {
  const struct {
    const char* address;
    const char* message;  // empty: accepted
  } cases[] = {
      {"s3://bucket/a/b.parquet", ""},
      {"s3://bucket", ""},
      {"gs://bucket/*.txt", ""},
      {"abfs://c@account.dfs.core.windows.net/x", ""},
      {"abfss://c@account.dfs.core.windows.net/x", ""},
      {"s3a://bucket/x", "write s3://"},
      {"gcs://bucket/x", "write gs://"},
      {"file:///srv/x", "write the plain path"},
      {"https://x/y", "download it"},
      {"hf://datasets/x", "download it"},
      {"ftp://x/y", "s3://, gs:// and abfs:// are read"},
      {"s3:///x", "s3://BUCKET/PATH"},
      {"abfs://account/x", "abfs://CONTAINER@ACCOUNT"},
      {"s3://KEYID:hunter2@bucket/x", "credentials do not belong"},
      {"abfs://c:hunter2@account.dfs.core.windows.net/x", "credentials do not belong"},
      {"s3://bucket/x?X-Amz-Signature=hunter2", "a query does not belong"},
      {"s3://bucket/a/../b", "cannot have the name .."},
      {"s3://team-*/x", "the bucket of an address of s3:// is no pattern"},
      {"abfs://c{1,2}@account.dfs.core.windows.net/x", "the container of an address of abfs:// is no pattern"},
  };
  for (const auto& one : cases) {
    const absl::Status status = check_address(one.address);
    EXPECT_EQ(status.ok(), *one.message == '\0') << one.address << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.message)) << one.address;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hunter2"))) << one.address;
  }
}

TEST(ObjectAddress, AFolderIsTheSameWithSlashesAtItsEnd) {
  EXPECT_EQ(without_trailing_slashes("s3://bucket/runs//"), "s3://bucket/runs");
  EXPECT_EQ(without_trailing_slashes("s3://bucket/runs"), "s3://bucket/runs");
  EXPECT_EQ(without_trailing_slashes("s3://"), "s3://");
}

}  // namespace
}  // namespace galleon
