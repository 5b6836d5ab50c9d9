// OpenSSL's objects, owned.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <time.h>

#include <algorithm>
#include <climits>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace galleon::openssl {

template <auto FreeFunction>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    FreeFunction(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;

// Sizes are ints there.
inline int clamped(size_t size) {
  return static_cast<int>(std::min<size_t>(size, INT_MAX));
}

// To be read from. `text` must outlive it.
inline Bio bio_of(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), clamped(text.size())));
}

// The next one of some PEM; null: there is none.
inline Certificate read_certificate(const Bio& pem) {
  return Certificate(PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr));
}
inline Key read_key(const Bio& pem) {
  return Key(PEM_read_bio_PrivateKey(pem.get(), nullptr, nullptr, nullptr));
}

// When it ends; nothing: it does not say so as it should.
inline std::optional<absl::Time> end_of(const X509* certificate) {
  tm parts{};
  if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1) return std::nullopt;
  return absl::FromTimeT(::timegm(&parts));
}

}  // namespace galleon::openssl
