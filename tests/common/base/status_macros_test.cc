#include "common/base/status_macros.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace galleon {
namespace {

absl::StatusOr<int> half(int number) {
  if (number % 2 != 0) return absl::InvalidArgumentError("an odd number");
  return number / 2;
}

absl::Status require_even(int number) {
  RETURN_IF_ERROR(half(number).status());
  return absl::OkStatus();
}

absl::StatusOr<int> quarter(int number) {
  ASSIGN_OR_RETURN(const int once, half(number));
  int twice = 0;
  ASSIGN_OR_RETURN(twice, half(once));
  return twice;
}

absl::StatusOr<std::unique_ptr<std::string>> owned(bool there) {
  if (!there) return absl::NotFoundError("nothing");
  return std::make_unique<std::string>("something");
}

absl::StatusOr<size_t> length(bool there) {
  ASSIGN_OR_RETURN(std::unique_ptr<std::string> text, owned(there));
  RETURN_IF_ERROR(require_even(2));
  return text->size();
}

TEST(StatusMacros, AnErrorGoesToTheCallerAsItIs) {
  EXPECT_EQ(require_even(3), absl::InvalidArgumentError("an odd number"));
  EXPECT_EQ(quarter(6).status(), absl::InvalidArgumentError("an odd number"));
  EXPECT_EQ(length(false).status(), absl::NotFoundError("nothing"));
}

TEST(StatusMacros, WithoutOneTheFunctionGoesOnWithTheValue) {
  EXPECT_TRUE(require_even(2).ok());
  EXPECT_EQ(*quarter(12), 3);
  EXPECT_EQ(*length(true), 9u);
}

TEST(StatusMacros, AnExpressionIsEvaluatedOnce) {
  int calls = 0;
  const auto counted = [&calls]() -> absl::Status {
    ++calls;
    return absl::OkStatus();
  };
  const auto run = [&counted]() -> absl::Status {
    RETURN_IF_ERROR(counted());
    return absl::OkStatus();
  };
  EXPECT_TRUE(run().ok());
  EXPECT_EQ(calls, 1);
}

TEST(StatusMacros, AnExpressionMayHoldAFunctionThatUsesThemToo) {
  const auto apply = [](const auto& function) -> absl::Status { return function(); };
  const auto run = [&apply](int number) -> absl::Status {
    RETURN_IF_ERROR(apply([number]() -> absl::Status {
      RETURN_IF_ERROR(require_even(number));
      ASSIGN_OR_RETURN(const int once, half(number));
      return require_even(once);
    }));
    return absl::OkStatus();
  };
  EXPECT_TRUE(run(4).ok());
  EXPECT_FALSE(run(2).ok());
  EXPECT_FALSE(run(1).ok());
}

}  // namespace
}  // namespace galleon
