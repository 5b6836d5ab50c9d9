#include "worker/trainer/failure_kind.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "common/base/files.h"

namespace galleon {
namespace {

// A device that takes nothing, as a disk that is full does.
absl::Status write_to_full_disk() {
  const FileDescriptor full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  return write_all(full.get(), "x");
}

TEST(FailureKind, AFullDiskAndMissingRightsAreTheMachinesFault) {
  const absl::Status full = write_to_full_disk();
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(place_fault_of(full), v1::PLACE_FAULT_CERTAIN) << full;
  EXPECT_EQ(place_fault_of(errno_status("cannot write", "/jobs/a-1/metrics.jsonl", EDQUOT)), v1::PLACE_FAULT_CERTAIN);
  for (const int error : {EACCES, EPERM, EROFS})
    EXPECT_EQ(place_fault_of(errno_status("cannot open", "/jobs/a-1", error)), v1::PLACE_FAULT_DOUBTFUL);
}

TEST(FailureKind, WhatDoesNotAnswerLiesOutside) {
  EXPECT_EQ(place_fault_of(absl::UnavailableError("s3://data/a: connection refused")), v1::PLACE_FAULT_OUTSIDE);
  EXPECT_EQ(place_fault_of(errno_status("cannot read", "/nfs/a", ETIMEDOUT)), v1::PLACE_FAULT_OUTSIDE);
  // A name that is a folder, or none, is the job's.
  for (const int error : {EISDIR, ELOOP, ENAMETOOLONG, EINVAL}) {
    EXPECT_TRUE(is_permanent(errno_status("cannot read", "/data/a", error))) << error;
    EXPECT_EQ(place_fault_of(errno_status("cannot read", "/data/a", error)), v1::PLACE_FAULT_UNSPECIFIED);
  }
}

TEST(FailureKind, WhatTheJobSaysWronglyIsItsOwnAndPermanent) {
  for (const absl::Status& own : {absl::InvalidArgumentError("training.steps: 0"), absl::NotFoundError("no such file"),
                                  absl::FailedPreconditionError("another model")}) {
    EXPECT_EQ(place_fault_of(own), v1::PLACE_FAULT_UNSPECIFIED) << own;
    EXPECT_TRUE(is_permanent(own)) << own;
  }
  EXPECT_FALSE(is_permanent(absl::UnavailableError("rank 1 hung up")));
  EXPECT_FALSE(is_permanent(write_to_full_disk()));
}

}  // namespace
}  // namespace galleon
