#include "common/net/grpc_faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace galleon {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TEST(GrpcFaults, AreNamedForTheVersionsThatHaveThem) {
  for (const char* version : {"1.30.2", "1.51.1", "1.52.0"})
    EXPECT_THAT(known_grpc_faults(version), AllOf(HasSubstr(version), HasSubstr("CVE-2023-1428"), HasSubstr("33953")));
  for (const char* version : {"1.53.0", "1.53.1", "1.54.2", "1.55.1", "1.56.0", "1.56.1", "1.56.1-pre1"})
    EXPECT_THAT(known_grpc_faults(version), AllOf(HasSubstr("33953"), Not(HasSubstr("1428"))));
}

TEST(GrpcFaults, AreNoneWhereTheyAreMendedOrTheVersionIsUnknown) {
  for (const char* version : {"1.53.2", "1.54.3", "1.55.2", "1.56.2", "1.57.0", "1.74.1", "2.0.0", "", "1", "1.x", "x"})
    EXPECT_THAT(known_grpc_faults(version), IsEmpty()) << version;
}

}  // namespace
}  // namespace galleon
