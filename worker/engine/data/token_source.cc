#include "worker/engine/data/token_source.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "worker/engine/data/files.h"

namespace galleon {

namespace {

enum class Format { kText, kJsonLines, kTokens };

Format format_of(const DataOptions& options, const std::string& path) {
  if (options.format == "text") return Format::kText;
  if (options.format == "jsonl") return Format::kJsonLines;
  if (options.format == "tokens") return Format::kTokens;
  absl::string_view name = path;
  for (absl::string_view packed : {".gz", ".zst"}) {
    if (absl::EndsWith(name, packed)) name.remove_suffix(packed.size());
  }
  if (absl::EndsWith(name, ".jsonl") || absl::EndsWith(name, ".json")) return Format::kJsonLines;
  if (absl::EndsWith(name, ".tokens") || absl::EndsWith(name, ".bin")) return Format::kTokens;
  return Format::kText;
}

absl::Status append_token_file(const std::string& path, const std::string& content, int64_t vocabulary,
                               std::vector<int32_t>& tokens) {
  const size_t width = vocabulary > 65536 ? 4 : 2;
  if (content.size() % width != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", content.size(), " bytes is not a whole number of ", width * 8, "-bit ids"));
  }
  const size_t first = tokens.size();
  const size_t count = content.size() / width;
  tokens.resize(first + count);
  for (size_t i = 0; i < count; ++i) {
    uint32_t id = 0;
    for (size_t b = 0; b < width; ++b)
      id |= static_cast<uint32_t>(static_cast<unsigned char>(content[i * width + b])) << (8 * b);
    if (id >= vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": id ", id, " at position ", i, " does not fit the vocabulary of ", vocabulary));
    }
    tokens[first + i] = static_cast<int32_t>(id);
  }
  return absl::OkStatus();
}

void append_document(absl::string_view text, const Tokenizer& tokenizer, std::vector<int32_t>& tokens) {
  tokenizer.encode(text, tokens);
  tokens.push_back(tokenizer.end_token());
}

absl::Status append_json_lines(const std::string& path, const std::string& content, const DataOptions& options,
                               const Tokenizer& tokenizer, std::vector<int32_t>& tokens) {
  int64_t number = 0;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    if (line.find_first_not_of(" \t\r") == absl::string_view::npos) continue;
    const nlohmann::json json = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
    if (json.is_discarded() || !json.is_object())
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": not a JSON object"));
    const auto field = json.find(options.text_field);
    if (field == json.end() || !field->is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", number, ": no text field \"", options.text_field, "\" (data.text_field)"));
    }
    append_document(field->get_ref<const std::string&>(), tokenizer, tokens);
  }
  return absl::OkStatus();
}

uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// A pseudo-random permutation of [0, n) without a table: a four-round Feistel network over the next even number of
// bits, walked until the value falls into the range (Black & Rogaway 2002, cycle walking).
int64_t permute(int64_t i, int64_t n, uint64_t key) {
  int half = 1;
  while ((int64_t{1} << (2 * half)) < n) ++half;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  auto x = static_cast<uint64_t>(i);
  do {
    uint64_t left = x >> half;
    uint64_t right = x & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t next = left ^ (mix(right ^ mix(key + round)) & mask);
      left = right;
      right = next;
    }
    x = (left << half) | right;
  } while (x >= static_cast<uint64_t>(n));
  return static_cast<int64_t>(x);
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> load_tokens(const DataOptions& options, const std::vector<std::string>& globs,
                                                 const std::string& key, const Tokenizer* tokenizer,
                                                 int64_t vocabulary) {
  absl::StatusOr<std::vector<std::string>> files = expand_globs(globs, key);
  if (!files.ok()) return files.status();
  std::vector<int32_t> tokens;
  for (const std::string& path : *files) {
    absl::StatusOr<std::string> content = read_maybe_compressed(path);
    if (!content.ok())
      return absl::Status(content.status().code(), absl::StrCat(key, ": ", content.status().message()));
    const Format format = format_of(options, path);
    absl::Status status;
    if (format == Format::kTokens) {
      status = append_token_file(path, *content, vocabulary, tokens);
    } else if (tokenizer == nullptr) {
      status = absl::InvalidArgumentError(absl::StrCat(path, " is text, and no tokenizer is given"));
    } else if (format == Format::kJsonLines) {
      status = append_json_lines(path, *content, options, *tokenizer, tokens);
    } else if (!content->empty()) {
      append_document(*content, *tokenizer, tokens);
    }
    if (!status.ok()) return absl::Status(status.code(), absl::StrCat(key, ": ", status.message()));
  }
  if (tokens.empty())
    return absl::InvalidArgumentError(absl::StrCat(
        key, ": there is no text in ", files->size() == 1 ? files->front() : absl::StrCat(files->size(), " files")));
  return tokens;
}

absl::StatusOr<Windows> Windows::create(std::vector<int32_t> tokens, int64_t sequence_length, bool shuffle,
                                        uint64_t seed, const std::string& key) {
  const auto size = static_cast<int64_t>(tokens.size());
  if (size < sequence_length + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": ", size, " tokens are too few for one sequence of data.sequence_length ", sequence_length,
                     " and its last target; at least ", sequence_length + 1, " are needed"));
  }
  Windows windows;
  windows.tokens_ = std::move(tokens);
  windows.sequence_length_ = sequence_length;
  windows.count_ = (size - 1) / sequence_length;
  windows.shuffle_ = shuffle;
  windows.seed_ = seed;
  return windows;
}

void Windows::window(int64_t i, int32_t* inputs, int32_t* targets) const {
  const int32_t* start = tokens_.data() + i * sequence_length_;
  std::memcpy(inputs, start, sequence_length_ * sizeof(int32_t));
  std::memcpy(targets, start + 1, sequence_length_ * sizeof(int32_t));
}

void Windows::training_window(int64_t n, int32_t* inputs, int32_t* targets) const {
  const int64_t epoch = n / count_;
  int64_t i = n % count_;
  if (shuffle_) i = permute(i, count_, mix(seed_) + static_cast<uint64_t>(epoch));
  window(i, inputs, targets);
}

double unigram_entropy(const std::vector<int32_t>& tokens, int64_t vocabulary) {
  std::vector<int64_t> counts(vocabulary, 0);
  for (const int32_t id : tokens) ++counts[id];
  double entropy = 0;
  for (const int64_t count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / static_cast<double>(tokens.size());
    entropy -= p * std::log(p);
  }
  return entropy;
}

}  // namespace galleon
