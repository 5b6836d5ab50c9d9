// A call that may fail, on one line: the error goes to the caller, who returns absl::Status or absl::StatusOr too.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns what `expression`, an absl::Status, says unless it is OK.
#define RETURN_IF_ERROR(expression)                                                              \
  do {                                                                                           \
    if (absl::Status galleon_status = (expression); !galleon_status.ok()) return galleon_status; \
  } while (false)

// Gives the value of `expression`, an absl::StatusOr, to `target`, a declaration or something to assign to; returns its
// status if there is no value. More than one statement: it needs braces under an if. Commas outside of parentheses, as
// in a type of two arguments, end a macro's argument: write `auto`, or put parentheses around the expression.
#define ASSIGN_OR_RETURN(target, expression) \
  GALLEON_ASSIGN_OR_RETURN(GALLEON_JOIN(galleon_result_, __COUNTER__), target, expression)

#define GALLEON_ASSIGN_OR_RETURN(result, target, expression) \
  auto result = (expression);                                \
  if (!result.ok()) return std::move(result).status();       \
  target = *std::move(result)
#define GALLEON_JOIN(a, b) GALLEON_JOIN_NOW(a, b)
#define GALLEON_JOIN_NOW(a, b) a##b
