#include "common/net/tls_watch.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/net/certificate_expiry.h"
#include "common/net/openssl.h"

namespace galleon {

namespace {

constexpr absl::Duration kLookAgain = absl::Seconds(1);  // while something is refused
// Files that are replaced one after the other belong together a moment later.
constexpr auto kMoment = std::chrono::milliseconds(50);
constexpr unsigned kProviderSeconds = 1;

int count_of(absl::string_view text, absl::string_view word) {
  int count = 0;
  for (size_t at = text.find(word); at != absl::string_view::npos; at = text.find(word, at + word.size())) ++count;
  return count;
}

// Certificates of a file, all of them whole.
absl::Status check_certificates(const std::string& pem, const std::string& path) {
  const openssl::Bio text = openssl::bio_of(pem);
  int whole = 0;
  ERR_clear_error();
  while (openssl::read_certificate(text) != nullptr) ++whole;
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (whole > 0 && at_end && count_of(pem, "-----BEGIN ") == count_of(pem, "-----END ")) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path, pem.empty() ? " is empty" : " is cut, or not certificates in PEM"));
}

}  // namespace

absl::Status check_tls_folder(const TlsFolder& tls, const std::string& folder) {
  RETURN_IF_ERROR(check_certificates(tls.authority, folder + "/ca.pem"));
  if (tls.certificate.empty() && tls.key.empty() && !tls.token.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(check_certificates(tls.certificate, folder + "/cert.pem"));
  const openssl::Certificate certificate = openssl::read_certificate(openssl::bio_of(tls.certificate));
  const openssl::Key key = openssl::read_key(openssl::bio_of(tls.key));
  const bool fits = key != nullptr && X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, "/key.pem is ", tls.key.empty() ? "empty" : "cut, or not a key in PEM"));
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, "/key.pem is not the key of ", folder, "/cert.pem: put both in their places"));
  }
  return absl::OkStatus();
}

absl::Status TlsWatch::MemoryFile::write(const std::string& text) {
  FileDescriptor made(::memfd_create("galleon-tls", MFD_CLOEXEC));
  if (!made.valid()) return errno_status("cannot keep in memory", "a certificate", errno);
  RETURN_IF_ERROR(write_all(made.get(), text));
  if (!file_.valid()) {
    file_ = std::move(made);
  } else if (::dup3(made.get(), file_.get(), O_CLOEXEC) < 0) {
    return errno_status("cannot replace", "a certificate in memory", errno);
  }
  return absl::OkStatus();
}

std::string TlsWatch::MemoryFile::path() const {
  return absl::StrCat("/proc/self/fd/", file_.get());
}

absl::StatusOr<std::unique_ptr<TlsWatch>> TlsWatch::start(const std::string& folder, absl::Duration interval) {
  std::unique_ptr<TlsWatch> watch(new TlsWatch(folder, std::max(interval, absl::Seconds(1))));
  ASSIGN_OR_RETURN(const TlsFolder tls, watch->read());
  RETURN_IF_ERROR(watch->use(tls));
  watch->thread_ = std::thread([made = watch.get()] { made->run(); });
  return watch;
}

TlsWatch::~TlsWatch() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  ends_.notify_all();
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<TlsFolder> TlsWatch::read() const {
  absl::StatusOr<TlsFolder> tls = load_tls_folder(folder_);
  absl::Status status = tls.ok() ? check_tls_folder(*tls, folder_) : tls.status();
  if (!status.ok()) {
    std::this_thread::sleep_for(kMoment);
    tls = load_tls_folder(folder_);
    status = tls.ok() ? check_tls_folder(*tls, folder_) : tls.status();
  }
  if (!status.ok()) return status;
  return tls;
}

absl::Status TlsWatch::use(const TlsFolder& tls) {
  RETURN_IF_ERROR(authority_.write(tls.authority));
  if (!tls.certificate.empty()) {
    RETURN_IF_ERROR(certificate_.write(tls.certificate));
    RETURN_IF_ERROR(key_.write(tls.key));
  }
  in_use_ = tls;
  return absl::OkStatus();
}

absl::Status TlsWatch::refresh() {
  absl::StatusOr<TlsFolder> tls = read();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (tls.ok() && tls->certificate.empty() != in_use_.certificate.empty())
    tls = absl::FailedPreconditionError(absl::StrCat(folder_, " has not the same files as at the start: restart"));
  if (tls.ok()) {
    // A token is sent as it was at the start.
    tls->token = in_use_.token;
    const bool same =
        tls->certificate == in_use_.certificate && tls->key == in_use_.key && tls->authority == in_use_.authority;
    if (const absl::Status used = same ? absl::OkStatus() : use(*tls); !used.ok()) tls = used;
    if (tls.ok() && (!same || !refusal_.empty())) {
      const absl::StatusOr<absl::Time> end = certificate_expiry(in_use_.certificate);
      log_info(same ? "the certificate in use is in " : "uses the renewed certificate in ", folder_,
               end.ok() ? absl::StrCat(", valid until ", absl::FormatTime(*end, absl::UTCTimeZone())) : "");
    }
  }
  const std::string why(tls.status().message());
  if (!why.empty() && why != refusal_)
    log_error("the renewed certificate in ", folder_, " is not used, the old one stays: ", why);
  refusal_ = why;
  return tls.status();
}

bool TlsWatch::refused() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !refusal_.empty();
}

TlsFolder TlsWatch::in_use() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return in_use_;
}

std::shared_ptr<grpc::experimental::CertificateProviderInterface> TlsWatch::provider() const {
  using grpc::experimental::FileWatcherCertificateProvider;
  if (in_use().certificate.empty())
    return std::make_shared<FileWatcherCertificateProvider>(authority_.path(), kProviderSeconds);
  return std::make_shared<FileWatcherCertificateProvider>(key_.path(), certificate_.path(), authority_.path(),
                                                          kProviderSeconds);
}

void TlsWatch::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ending_) {
    const absl::Duration pause = refusal_.empty() ? interval_ : std::min(interval_, kLookAgain);
    if (ends_.wait_for(lock, absl::ToChronoMilliseconds(pause), [this] { return ending_; })) return;
    lock.unlock();
    (void)refresh();
    lock.lock();
  }
}

}  // namespace galleon
