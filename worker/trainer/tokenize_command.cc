#include "worker/trainer/tokenize_command.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <iostream>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/byte_ranges.h"
#include "worker/engine/data/cache_builder.h"
#include "worker/engine/data/files.h"
#include "worker/engine/data/recognition.h"
#include "worker/engine/run/recorded_tokens.h"

namespace galleon {

namespace {

// One line that is drawn over itself.
std::string tokenize_bar(int64_t file_bytes, int64_t all_bytes, int64_t text_bytes, double seconds, int64_t tokens) {
  constexpr int kWidth = 32;
  const double part =
      all_bytes > 0 ? std::min(1.0, static_cast<double>(file_bytes) / static_cast<double>(all_bytes)) : 1.0;
  const int filled = static_cast<int>(part * kWidth);
  return absl::StrFormat("\r[%s%s] %3.0f %%  %.1f MB/s of text  %.1fM tokens ", std::string(filled, '='),
                         std::string(kWidth - filled, ' '), 100 * part,
                         static_cast<double>(text_bytes) * 1e-6 / std::max(seconds, 1e-3),
                         static_cast<double>(tokens) * 1e-6);
}

// A token and its id, for people.
std::string token_name(const Tokenizer& tokenizer, int32_t token) {
  if (token < 0) return "no token";
  for (const auto& [text, id] : tokenizer.marks()) {
    if (id == token) return absl::StrCat(text, " (", id, ")");
  }
  return absl::StrCat("token ", token);
}

}  // namespace

absl::Status tokenize(const TokenizeOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, open_tokenizer(options.tokenizer));
  RETURN_IF_ERROR(use_recorded_tokens(options.tokenizer, *tokenizer));
  ASSIGN_OR_RETURN(std::vector<std::string> paths, expand_globs(options.input, "--input"));
  DataOptions data;
  data.text_field = options.text_field;
  CacheBuild build;
  int64_t bytes = 0;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(InputFormat format, recognise(options.format, path));
    build.files.push_back({path, format});
    ASSIGN_OR_RETURN(const std::unique_ptr<ByteRanges> file, ByteRanges::open(path));
    bytes += file->size();
  }
  build.pieces.columns = {data.text_field};
  const int64_t vocabulary = tokenizer->vocabulary();
  build.base = absl::StrCat(options.output, ".part-", ::getpid());
  build.key = "--input";
  absl::StatusOr<DocumentTokens> around = document_tokens(*tokenizer, options.begin_token, options.end_token);
  if (!around.ok()) return around.status();
  build.encoder = make_packed_encoder(data, tokenizer.get(), *around, vocabulary);
  build.shape.width = vocabulary > 65536 ? 4 : 2;
  build.threads = options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
  const absl::Cleanup remove = [base = build.base] {
    std::error_code error;
    for (const char* end : {".tokens", ".json"}) std::filesystem::remove(base + end, error);
  };
  const int width = build.shape.width;
  const std::string base = build.base;
  const size_t files = build.files.size();
  ASSIGN_OR_RETURN(std::unique_ptr<CacheBuilder> builder, CacheBuilder::start(std::move(build)));
  const std::shared_ptr<const CacheProgress> progress = builder->progress();
  const absl::Time start = absl::Now();
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  CacheIndex index;
  do {
    index = progress->wait([](const CacheIndex& i) { return i.complete || !i.error.empty(); }, absl::Milliseconds(200));
    if (terminal) {
      const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
      std::cerr << tokenize_bar(builder->file_bytes(), bytes, builder->text_bytes(), seconds, index.tokens)
                << std::flush;
    }
  } while (!index.complete && index.error.empty());
  if (terminal) std::cerr << "\n";
  if (!index.error.empty()) return absl::Status(static_cast<absl::StatusCode>(index.error_code), index.error);
  if (index.tokens == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--input: there is no text in ", files == 1 ? paths.front() : absl::StrCat(files, " files")));
  }
  std::error_code error;
  std::filesystem::rename(base + ".tokens", options.output, error);
  if (error) return errno_status("cannot rename to", options.output, error.value());
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  std::cout << absl::StrFormat("%d tokens, %d bits each, %s (%.1f MB of text in %.1f s)\n", index.tokens, width * 8,
                               options.output, static_cast<double>(builder->text_bytes()) * 1e-6, seconds);
  std::cout << "each document has " << token_name(*tokenizer, around->begin) << " before it and "
            << token_name(*tokenizer, around->end) << " behind it\n";
  return absl::OkStatus();
}

}  // namespace galleon
