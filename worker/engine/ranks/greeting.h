// What two ranks say first over a connection: each shows that it knows a secret, which itself is not sent. Each draws
// a number, and answers with an HMAC-SHA256 of its part, both numbers and the rank of the caller.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace galleon {

inline constexpr absl::string_view kGreetingMark = "galleon2";
inline constexpr size_t kNonceBytes = 16;
inline constexpr size_t kProofBytes = 32;
// What a caller says first: the mark, its rank as eight digits, its number.
inline constexpr size_t kHelloBytes = kGreetingMark.size() + 8 + kNonceBytes;

std::string draw_nonce();
std::string hello_of(int rank);
// −1: it is no hello.
int rank_of_hello(absl::string_view hello);

// `part`: "called" of who answers, "caller" of who calls.
std::string greeting_proof(const std::string& secret, absl::string_view part, absl::string_view hello,
                           absl::string_view nonce);
// In a time that does not depend on where they differ.
bool same_proof(absl::string_view one, absl::string_view other);

// A text behind its size in eight hexadecimal digits; none is as large as this.
inline constexpr size_t kTextSizeDigits = 8;
inline constexpr uint64_t kLargestText = uint64_t{16} << 20;
std::string framed_text(absl::string_view text);
// False: these are no digits, or too much.
bool size_of_text(absl::string_view digits, uint64_t& size);

}  // namespace galleon
