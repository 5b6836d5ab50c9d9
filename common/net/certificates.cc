#include "common/net/certificates.h"

#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "common/net/openssl.h"

namespace galleon {

namespace {

using openssl::Bio;
using openssl::Certificate;
using openssl::Freer;
using openssl::Key;

absl::Status failed(absl::string_view what) {
  return absl::InternalError(absl::StrCat("OpenSSL cannot ", what));
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

bool extend(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool is_address(const std::string& host) {
  return host.find_first_not_of("0123456789.") == std::string::npos || host.find(':') != std::string::npos;
}

struct Request {
  std::string name;
  std::vector<std::string> hosts;
  absl::Time from;
  absl::Time until;
  bool authority = false;
};

// Signed by `issuer` and its key, or by itself where there is none.
absl::StatusOr<KeyPair> make(const Request& request, X509* issuer, EVP_PKEY* issuer_key) {
  Key key(EVP_EC_gen("P-256"));
  Certificate certificate(X509_new());
  if (key == nullptr || certificate == nullptr) return failed("make a key");
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof(serial)) != 1) return failed("draw a random number");
  serial[0] &= 0x7f;
  std::unique_ptr<BIGNUM, Freer<BN_free>> number(BN_bin2bn(serial, sizeof(serial), nullptr));
  X509_set_version(certificate.get(), 2);
  BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get()));
  ASN1_TIME_set(X509_getm_notBefore(certificate.get()), absl::ToTimeT(request.from));
  ASN1_TIME_set(X509_getm_notAfter(certificate.get()), absl::ToTimeT(request.until));
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(request.name.c_str()),
                             -1, -1, 0);
  if (issuer == nullptr) issuer = certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer));
  bool whole = extend(certificate.get(), issuer, NID_basic_constraints,
                      request.authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE");
  whole &= extend(certificate.get(), issuer, NID_key_usage,
                  request.authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
  if (!request.authority)
    whole &= extend(certificate.get(), issuer, NID_ext_key_usage,
                    request.hosts.empty() ? "clientAuth" : "serverAuth,clientAuth");
  if (!request.hosts.empty()) {
    whole &= extend(certificate.get(), issuer, NID_subject_alt_name,
                    absl::StrJoin(request.hosts, ",", [](std::string* out, const std::string& host) {
                      absl::StrAppend(out, is_address(host) ? "IP:" : "DNS:", host);
                    }));
  }
  if (!whole) {
    return absl::InvalidArgumentError(absl::StrCat("a certificate cannot be made for ", request.name, " at ",
                                                   absl::StrJoin(request.hosts, ", "),
                                                   "; hosts are names or addresses"));
  }
  if (X509_sign(certificate.get(), issuer_key == nullptr ? key.get() : issuer_key, EVP_sha256()) == 0)
    return failed("sign a certificate");
  Bio certificate_text(BIO_new(BIO_s_mem()));
  Bio key_text(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_text.get(), certificate.get()) != 1 ||
      PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return failed("write a certificate");
  }
  return KeyPair{text_of(certificate_text.get()), text_of(key_text.get())};
}

absl::Status write_folder(const std::string& folder, const std::string& authority, const KeyPair& pair) {
  RETURN_IF_ERROR(make_folders(folder));
  absl::Status status = write_secret(folder + "/key.pem", pair.key);
  if (status.ok()) status = write_file_durably(folder + "/cert.pem", pair.certificate);
  if (status.ok()) status = write_file_durably(folder + "/ca.pem", authority);
  return status;
}

}  // namespace

absl::StatusOr<KeyPair> make_authority(const std::string& name, absl::Time from, absl::Time until) {
  return make({name, {}, from, until, true}, nullptr, nullptr);
}

absl::StatusOr<KeyPair> make_certificate(const KeyPair& authority, const std::string& name,
                                         const std::vector<std::string>& hosts, absl::Time from, absl::Time until) {
  const Certificate issuer = openssl::read_certificate(openssl::bio_of(authority.certificate));
  const Key key = openssl::read_key(openssl::bio_of(authority.key));
  if (issuer == nullptr || key == nullptr) return absl::InvalidArgumentError("the authority's files are not PEM");
  return make({name, hosts, from, until, false}, issuer.get(), key.get());
}

std::string sha256_hex(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), sizeof(digest)));
}

absl::Status write_secret(const std::string& path, const std::string& content) {
  const mode_t before = ::umask(077);
  absl::Status status = write_file_durably(path, content);
  ::umask(before);
  return status;
}

absl::Status init_tls(const std::string& folder, const std::vector<std::string>& hosts, absl::Duration valid) {
  const std::string root = folder + "/authority";
  if (::access((root + "/key.pem").c_str(), F_OK) == 0)
    return absl::AlreadyExistsError(
        absl::StrCat(root, " is an authority already; --client NAME makes one more client"));
  // A little into the past, for machines whose clocks differ.
  const absl::Time from = absl::Now() - absl::Hours(1);
  ASSIGN_OR_RETURN(const KeyPair authority, make_authority("Galleon authority", from, absl::Now() + valid));
  std::vector<std::string> names = {"localhost", "127.0.0.1", "::1"};
  names.insert(names.end(), hosts.begin(), hosts.end());
  for (const std::string& name : {std::string("server"), std::string("admin"), std::string("worker")}) {
    ASSIGN_OR_RETURN(const KeyPair pair,
                     make_certificate(authority, name, name == "server" ? names : std::vector<std::string>(), from,
                                      absl::Now() + valid));
    RETURN_IF_ERROR(write_folder(absl::StrCat(folder, "/", name), authority.certificate, pair));
  }
  return write_folder(root, authority.certificate, authority);
}

absl::Status add_client(const std::string& folder, const std::string& name, absl::Duration valid) {
  const std::string root = folder + "/authority";
  ASSIGN_OR_RETURN(std::string certificate, read_file(root + "/cert.pem"));
  ASSIGN_OR_RETURN(std::string key, read_file(root + "/key.pem"));
  if (::access(absl::StrCat(folder, "/", name, "/key.pem").c_str(), F_OK) == 0)
    return absl::AlreadyExistsError(absl::StrCat(folder, "/", name, " is there already"));
  ASSIGN_OR_RETURN(const KeyPair pair,
                   make_certificate({certificate, key}, name, {}, absl::Now() - absl::Hours(1), absl::Now() + valid));
  return write_folder(absl::StrCat(folder, "/", name), certificate, pair);
}

}  // namespace galleon
