// The certificate, key and authority of a TLS folder, read again while a program runs. What is half written at a
// renewal is never used: the old ones stay until the new ones are whole and belong together.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/files.h"
#include "common/net/tls_folder.h"
#include "grpcpp/security/tls_certificate_provider.h"

namespace galleon {

// INVALID_ARGUMENT names the file that is empty, cut or not in PEM, or a key that is another certificate's.
absl::Status check_tls_folder(const TlsFolder& tls, const std::string& folder);

class TlsWatch {
 public:
  // Reads the folder now, and then every `interval` (at least a second). The errors of load_tls_folder and of
  // check_tls_folder.
  static absl::StatusOr<std::unique_ptr<TlsWatch>> start(const std::string& folder,
                                                         absl::Duration interval = absl::Seconds(30));
  ~TlsWatch();
  TlsWatch(const TlsWatch&) = delete;
  TlsWatch& operator=(const TlsWatch&) = delete;

  // Reads now. OK: what is in the folder is what is used; else why it is not. From any thread.
  absl::Status refresh();
  // Is something in the folder that cannot be used?
  bool refused() const;
  // As they are in use. The token is that of the start.
  TlsFolder in_use() const;
  // For gRPC's credentials, which take what is in use within a second. Must not outlive this.
  std::shared_ptr<grpc::experimental::CertificateProviderInterface> provider() const;

 private:
  // A file in memory that has a path of this process alone, and is replaced at once.
  class MemoryFile {
   public:
    absl::Status write(const std::string& text);
    std::string path() const;

   private:
    FileDescriptor file_;
  };

  TlsWatch(std::string folder, absl::Duration interval) : folder_(std::move(folder)), interval_(interval) {}
  absl::StatusOr<TlsFolder> read() const;
  absl::Status use(const TlsFolder& tls);
  void run();

  const std::string folder_;
  const absl::Duration interval_;
  mutable std::mutex mutex_;
  std::condition_variable ends_;
  bool ending_ = false;
  TlsFolder in_use_;
  std::string refusal_;  // empty: what is in the folder is in use
  MemoryFile authority_;
  MemoryFile certificate_;
  MemoryFile key_;
  std::thread thread_;
};

}  // namespace galleon
