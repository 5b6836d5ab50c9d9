// A call that may fail, on one line: the error goes to the caller, who returns absl::Status or absl::StatusOr too.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns what `expression`, an absl::Status, says unless it is OK.
#define RETURN_IF_ERROR(expression) GALLEON_RETURN_IF_ERROR(GALLEON_JOIN(galleon_status_, __COUNTER__), expression)

// Gives the value of `expression`, an absl::StatusOr, to `target`, a declaration or something to assign to; returns its
// status if there is no value. More than one statement: it needs braces under an if. Commas outside of parentheses, as
// in a type of two arguments, end a macro's argument: write `auto`, or put parentheses around the expression.
#define ASSIGN_OR_RETURN(target, expression) \
  GALLEON_ASSIGN_OR_RETURN(GALLEON_JOIN(galleon_result_, __COUNTER__), target, expression)

// A name for each use, so that a function in the expression may have uses of its own.
#define GALLEON_RETURN_IF_ERROR(status, expression)                      \
  do {                                                                   \
    if (absl::Status status = (expression); !status.ok()) return status; \
  } while (false)
#define GALLEON_ASSIGN_OR_RETURN(result, target, expression) \
  auto result = (expression);                                \
  if (!result.ok()) return std::move(result).status();       \
  target = *std::move(result)
#define GALLEON_JOIN(a, b) GALLEON_JOIN_NOW(a, b)
#define GALLEON_JOIN_NOW(a, b) a##b
