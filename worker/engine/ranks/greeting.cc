#include "worker/engine/ranks/greeting.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/ids.h"

namespace galleon {

std::string draw_nonce() {
  return absl::HexStringToBytes(random_hex(kNonceBytes));
}

std::string hello_of(int rank) {
  return absl::StrCat(kGreetingMark, absl::Dec(rank, absl::kZeroPad8), draw_nonce());
}

int rank_of_hello(absl::string_view hello) {
  int rank = -1;
  if (hello.size() != kHelloBytes || !absl::StartsWith(hello, kGreetingMark)) return -1;
  const absl::string_view digits = hello.substr(kGreetingMark.size(), 8);
  const bool number = std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return absl::ascii_isdigit(c); });
  return number && absl::SimpleAtoi(digits, &rank) ? rank : -1;
}

std::string greeting_proof(const std::string& secret, absl::string_view part, absl::string_view hello,
                           absl::string_view nonce) {
  const std::string text = absl::StrCat(part, hello, nonce);
  std::array<unsigned char, kProofBytes> digest{};
  unsigned int size = 0;
  ::HMAC(::EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size);
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

bool same_proof(absl::string_view one, absl::string_view other) {
  return one.size() == other.size() && ::CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

std::string framed_text(absl::string_view text) {
  return absl::StrCat(absl::Hex(text.size(), absl::kZeroPad8), text);
}

bool size_of_text(absl::string_view digits, uint64_t& size) {
  const bool hex = digits.size() == kTextSizeDigits &&
                   std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return absl::ascii_isxdigit(c); });
  return hex && absl::SimpleHexAtoi(digits, &size) && size <= kLargestText;
}

}  // namespace galleon
