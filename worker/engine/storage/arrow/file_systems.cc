#include "worker/engine/storage/arrow/file_systems.h"

#include <arrow/filesystem/azurefs.h>
#include <arrow/filesystem/gcsfs.h>
#include <arrow/filesystem/localfs.h>
#include <arrow/filesystem/s3fs.h>
#include <arrow/util/io_util.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <mutex>

namespace galleon_arrow {

namespace {

using arrow::Result;
using arrow::Status;
using arrow::fs::FileSystem;

constexpr double kConnectSeconds = 5;
constexpr double kStalledSeconds = 20;
constexpr int64_t kAttempts = 3;

std::string from_environment(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

bool starts_with(const std::string& text, const char* prefix) {
  return text.rfind(prefix, 0) == 0;
}

// "https://HOST:PORT" as a scheme and the rest.
void split_endpoint(const std::string& endpoint, std::string& scheme, std::string& rest) {
  const size_t colon = endpoint.find("://");
  if (colon != std::string::npos) scheme = endpoint.substr(0, colon);
  rest = colon == std::string::npos ? endpoint : endpoint.substr(colon + 3);
  while (!rest.empty() && rest.back() == '/') rest.pop_back();
}

Status begin_s3() {
  static const Status begun = [] {
    arrow::fs::S3GlobalOptions options = arrow::fs::S3GlobalOptions::Defaults();
    options.log_level = arrow::fs::S3LogLevel::Off;
    return arrow::fs::InitializeS3(options);
  }();
  return begun;
}

// The library's threads must end before its static objects do. These are made with the first file system, and handlers
// run in the reverse order, so this is called behind it.
void end_s3_at_exit() {
  static const int registered = std::atexit([] { (void)arrow::fs::EnsureS3Finalized(); });
  (void)registered;
}

Result<std::shared_ptr<FileSystem>> s3(const std::string& bucket) {
  ARROW_RETURN_NOT_OK(begin_s3());
  arrow::fs::S3Options options = arrow::fs::S3Options::Defaults();
  options.connect_timeout = kConnectSeconds;
  options.request_timeout = kStalledSeconds;
  options.retry_strategy = arrow::fs::S3RetryStrategy::GetAwsStandardRetryStrategy(kAttempts);
  options.background_writes = true;
  options.tls_ca_file_path = from_environment({"AWS_CA_BUNDLE"});
  const std::string endpoint = from_environment({"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  if (!endpoint.empty()) split_endpoint(endpoint, options.scheme, options.endpoint_override);
  const std::string region = from_environment({"AWS_REGION", "AWS_DEFAULT_REGION"});
  if (!region.empty()) {
    options.region = region;
  } else if (endpoint.empty()) {
    Result<std::string> found = arrow::fs::ResolveS3BucketRegion(bucket);
    if (found.ok()) options.region = *found;
  } else {
    options.region = "us-east-1";
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<FileSystem> system, arrow::fs::S3FileSystem::Make(options));
  end_s3_at_exit();
  return system;
}

Result<std::shared_ptr<FileSystem>> gcs() {
  arrow::fs::GcsOptions options = arrow::fs::GcsOptions::Defaults();
  const std::string emulator = from_environment({"STORAGE_EMULATOR_HOST"});
  if (!emulator.empty()) {
    options = arrow::fs::GcsOptions::Anonymous();
    options.scheme = "http";
    split_endpoint(emulator, options.scheme, options.endpoint_override);
  }
  options.retry_limit_seconds = kStalledSeconds;
  return arrow::fs::GcsFileSystem::Make(options);
}

Result<std::shared_ptr<FileSystem>> azure(const std::string& root) {
  ARROW_ASSIGN_OR_RAISE(arrow::fs::AzureOptions options, arrow::fs::AzureOptions::FromUri(root, nullptr));
  const std::string key = from_environment({"AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"});
  const std::string token = from_environment({"AZURE_STORAGE_SAS_TOKEN"});
  if (!key.empty()) {
    ARROW_RETURN_NOT_OK(options.ConfigureAccountKeyCredential(key));
  } else if (!token.empty()) {
    ARROW_RETURN_NOT_OK(options.ConfigureSASCredential(token));
  }
  return arrow::fs::AzureFileSystem::Make(options);
}

Result<std::shared_ptr<FileSystem>> make(const std::string& scheme, const std::string& authority) {
  if (scheme == "s3") return s3(authority);
  if (scheme == "gs") return gcs();
  if (scheme == "abfs" || scheme == "abfss") return azure(scheme + "://" + authority + "/");
  return Status::Invalid("the scheme ", scheme, ":// is not known");
}

GalleonArrowError error_of(const Status& status, const std::string& text) {
  if (status.detail() != nullptr && arrow::internal::ErrnoFromStatusDetail(*status.detail()) == ENOENT)
    return kGalleonArrowNotFound;
  for (const char* word :
       {"NO_SUCH_KEY", "NO_SUCH_BUCKET", "RESOURCE_NOT_FOUND", "NoSuchBucket", "NoSuchKey", "HTTP status 404",
        "status code 404", "404 Not Found", "ContainerNotFound", "BlobNotFound"}) {
    if (text.find(word) != std::string::npos) return kGalleonArrowNotFound;
  }
  for (const char* word :
       {"ACCESS_DENIED", "AccessDenied", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "SignatureDoesNotMatch",
        "INVALID_CLIENT_TOKEN_ID", "InvalidAccessKeyId", "UNRECOGNIZED_CLIENT", "EXPIRED_TOKEN", "ExpiredToken",
        "HTTP status 403", "HTTP status 401", "status code 401", "status code 403", "PERMISSION_DENIED",
        "UNAUTHENTICATED", "AuthorizationFailure", "AuthenticationFailed"}) {
    if (text.find(word) != std::string::npos) return kGalleonArrowDenied;
  }
  return status.IsIOError() ? kGalleonArrowUnavailable : kGalleonArrowInvalid;
}

}  // namespace

Result<Place> place_of(const std::string& address) {
  const size_t colon = address.find("://");
  if (colon == std::string::npos) return Place{std::make_shared<arrow::fs::LocalFileSystem>(), address, "", ""};
  const std::string scheme = address.substr(0, colon);
  const std::string rest = address.substr(colon + 3);
  const std::string authority = rest.substr(0, rest.find('/'));
  const bool azure_style = starts_with(scheme, "abfs");
  Place place;
  if (azure_style) {
    const size_t at = authority.find('@');
    if (at == std::string::npos || at == 0)
      return Status::Invalid(scheme, "://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH is how an address looks");
    place.path = authority.substr(0, at) + rest.substr(authority.size());
  } else {
    place.path = rest;
  }
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<FileSystem>>& made =
      *new std::map<std::string, std::shared_ptr<FileSystem>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<FileSystem>& system = made[scheme + "://" + authority];
  if (system == nullptr) {
    ARROW_ASSIGN_OR_RAISE(system, make(scheme, authority));
  }
  place.system = system;
  // A path of the file system begins with the bucket or container, an address with the scheme and the authority.
  place.prefix = scheme + "://" + authority;
  place.bucket = place.path.substr(0, place.path.find('/'));
  return place;
}

bool fail(const Status& status, GalleonArrowFailure* failure) {
  std::string text = status.message();
  failure->error = error_of(status, status.ToString());
  failure->tell(failure->context, text.data(), text.size());
  return false;
}

}  // namespace galleon_arrow
