#include "worker/trainer/text_commands.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/data/cache_builder.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/files.h"
#include "worker/engine/run/evaluation.h"
#include "worker/engine/run/training.h"

namespace galleon {

namespace {

// A model for inference alone.
struct LoadedModel {
  ModelConfig config;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Device> device;
  std::unique_ptr<Arena> arena;
  std::vector<Parameter> parameters;
  std::unique_ptr<Model> model;
};

absl::StatusOr<std::unique_ptr<LoadedModel>> load_model(const std::string& folder, const std::string& tokenizer,
                                                        int64_t batch, int64_t sequence, int threads) {
  auto loaded = std::make_unique<LoadedModel>();
  absl::StatusOr<ModelConfig> config = resolve_model_config(folder, {}, 0);
  if (!config.ok()) return config.status();
  loaded->config = *config;
  std::string source = tokenizer;
  std::error_code error;
  if (source.empty() && std::filesystem::exists(folder + "/tokenizer.model", error))
    source = folder + "/tokenizer.model";
  if (source.empty() && config->vocabulary == 257) source = "bytes";
  if (source.empty())
    return absl::InvalidArgumentError(absl::StrCat(folder, " has no tokenizer.model; name one with --tokenizer"));
  absl::StatusOr<std::unique_ptr<Tokenizer>> opened = open_tokenizer(source);
  if (!opened.ok()) return opened.status();
  loaded->tokenizer = *std::move(opened);
  if (loaded->tokenizer->vocabulary() > config->vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat(source, " has ", loaded->tokenizer->vocabulary(),
                                                   " pieces, and the model's vocab_size is ", config->vocabulary));
  }
  loaded->device = make_cpu_device(threads);
  loaded->arena = std::make_unique<Arena>(*loaded->device);
  loaded->parameters = model_parameters(*config, std::nullopt);
  absl::StatusOr<DataType> type = stored_weight_type(folder);
  if (!type.ok()) return type.status();
  allocate_weights(loaded->parameters, {*type}, *loaded->arena);
  loaded->model = make_model(loaded->config, loaded->parameters, batch, sequence, Activations::kNone, *loaded->arena);
  if (!loaded->arena->status().ok()) return loaded->arena->status();
  if (absl::Status s = load_weights(folder, loaded->parameters, *loaded->device); !s.ok()) return s;
  return loaded;
}

// A folder that is gone with its owner.
class TemporaryFolder {
 public:
  ~TemporaryFolder() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  absl::Status make() {
    std::error_code error;
    std::string pattern = (std::filesystem::temp_directory_path(error) / "galleon-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return errno_status("cannot create", pattern, errno);
    path_ = pattern;
    return absl::OkStatus();
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Entropy in nats of the single targets of an evaluation, the first `tokens` of the store: what a model without
// context can reach on them.
absl::StatusOr<double> unigram_entropy(SequenceStore& store, int64_t tokens, int64_t vocabulary) {
  std::vector<int64_t> counts(vocabulary, 0);
  int64_t total = 0;
  Sequence sequence;
  for (int64_t i = 0; total < tokens; ++i) {
    if (absl::Status s = store.read(i, sequence); !s.ok()) return s;
    for (const int32_t id : sequence.targets) {
      if (id < 0) continue;
      ++counts[id];
      ++total;
    }
  }
  double entropy = 0;
  for (const int64_t count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / static_cast<double>(total);
    entropy -= p * std::log(p);
  }
  return entropy;
}

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

// One token drawn from the smallest set of most probable ones whose mass reaches top_p (Holtzman 2020).
int32_t sample(const std::vector<float>& logits, double temperature, double top_p, std::mt19937_64& random) {
  if (temperature <= 0) return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  std::vector<double> mass(logits.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    mass[i] = std::exp((logits[order[i]] - logits[order[0]]) / temperature);
    total += mass[i];
  }
  size_t kept = 0;
  double cumulative = 0;
  while (kept < order.size() && cumulative < top_p * total) cumulative += mass[kept++];
  // 53 random bits, so that the draw is the same on every platform.
  double draw = static_cast<double>(random() >> 11) * 0x1.0p-53 * cumulative;
  for (size_t i = 0; i < kept; ++i) {
    draw -= mass[i];
    if (draw < 0) return order[i];
  }
  return order[kept > 0 ? kept - 1 : 0];
}

}  // namespace

absl::Status evaluate(const EvaluateOptions& options) {
  absl::StatusOr<ModelConfig> config = resolve_model_config(options.model, {}, 0);
  if (!config.ok()) return config.status();
  const int64_t length =
      options.sequence_length > 0 ? options.sequence_length : std::min<int64_t>(256, config->max_positions);
  absl::StatusOr<std::unique_ptr<LoadedModel>> loaded =
      load_model(options.model, options.tokenizer, options.batch, length, options.threads);
  if (!loaded.ok()) return loaded.status();
  TemporaryFolder folder;
  if (absl::Status s = folder.make(); !s.ok()) return s;
  CorpusRequest request;
  request.options.format = options.format;
  request.options.text_field = options.text_field;
  request.options.sequence_length = length;
  request.globs = options.data;
  request.key = "--data";
  request.tokenizer = (*loaded)->tokenizer.get();
  request.vocabulary = (*loaded)->config.vocabulary;
  request.folder = folder.path();
  request.name = "data";
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(request);
  if (!corpus.ok()) return corpus.status();
  if (absl::StatusOr<StoreProgress> some = (*corpus)->wait_for_start(); !some.ok()) return some.status();
  std::unique_ptr<Communicator> alone = make_single_communicator(*(*loaded)->device);
  absl::StatusOr<EvaluationLine> evaluated = evaluate_sequences(*(*loaded)->model, (*corpus)->store(), options.tokens,
                                                                padding_id((*loaded)->tokenizer.get()), *alone, 0);
  if (!evaluated.ok()) return evaluated.status();
  const EvaluationLine& line = *evaluated;
  absl::StatusOr<double> counted = unigram_entropy((*corpus)->store(), line.validation_tokens, request.vocabulary);
  if (!counted.ok()) return counted.status();
  const double entropy = *counted;
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"loss", line.validation_loss},
                                        {"perplexity", line.perplexity()},
                                        {"tokens", line.validation_tokens},
                                        {"unigram_entropy", entropy},
                                        {"metrics", nlohmann::ordered_json::object()}}
                     .dump()
              << "\n";
  } else {
    std::cout << absl::StrFormat(
        "loss             %.4f nats per token\nperplexity       %.2f\ntokens           %d\nunigram entropy  %.4f "
        "nats\n",
        line.validation_loss, line.perplexity(), line.validation_tokens, entropy);
  }
  return absl::OkStatus();
}

absl::Status generate(const GenerateOptions& options) {
  absl::StatusOr<ModelConfig> config = resolve_model_config(options.model, {}, 0);
  if (!config.ok()) return config.status();
  // The window is what is asked for, or the model's longest; beyond it the oldest tokens are left behind.
  std::vector<int32_t> ids;
  absl::StatusOr<std::unique_ptr<LoadedModel>> loaded =
      load_model(options.model, options.tokenizer, 1, std::min<int64_t>(config->max_positions, 256), options.threads);
  if (!loaded.ok()) return loaded.status();
  const Tokenizer& tokenizer = *(*loaded)->tokenizer;
  // Documents follow the end token in training, so it begins one.
  ids.push_back(tokenizer.end_token());
  if (!options.prompt.empty()) tokenizer.encode(options.prompt, ids);
  std::vector<int32_t> spoken(ids.begin() + 1, ids.end());
  std::string printed;
  auto print_new = [&] {
    const std::string text = tokenizer.decode(spoken);
    // A character may need several tokens: print up to the last whole one.
    size_t end = text.size();
    while (end > printed.size() && (static_cast<unsigned char>(text[end - 1]) & 0x80U) != 0 && text.size() - end < 4) {
      const bool lead = (static_cast<unsigned char>(text[end - 1]) & 0xC0U) == 0xC0U;
      --end;
      if (lead) break;
    }
    if (end == printed.size() || end == 0) return;
    std::cout << text.substr(printed.size(), end - printed.size()) << std::flush;
    printed = text.substr(0, end);
  };
  print_new();
  std::mt19937_64 random(options.seed);
  const int64_t window = (*loaded)->model->sequence();
  for (int64_t i = 0; i < options.tokens; ++i) {
    const int64_t start = std::max<int64_t>(0, static_cast<int64_t>(ids.size()) - window);
    const std::vector<float> logits = (*loaded)->model->next_logits({ids.begin() + start, ids.end()});
    const int32_t next = sample(logits, options.temperature, options.top_p, random);
    if (next == tokenizer.end_token()) break;
    ids.push_back(next);
    spoken.push_back(next);
    print_new();
  }
  const std::string text = tokenizer.decode(spoken);
  if (text.size() > printed.size()) std::cout << text.substr(printed.size());
  std::cout << "\n";
  return absl::OkStatus();
}

absl::Status tokenize(const TokenizeOptions& options) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(options.tokenizer);
  if (!tokenizer.ok()) return tokenizer.status();
  absl::StatusOr<std::vector<std::string>> paths = expand_globs(options.input, "--input");
  if (!paths.ok()) return paths.status();
  DataOptions data;
  data.text_field = options.text_field;
  CacheBuild build;
  int64_t bytes = 0;
  for (const std::string& path : *paths) {
    build.files.push_back({path, input_format(options.format, path)});
    std::error_code error;
    bytes += static_cast<int64_t>(std::filesystem::file_size(path, error));
  }
  const int64_t vocabulary = (*tokenizer)->vocabulary();
  build.base = absl::StrCat(options.output, ".part-", ::getpid());
  build.key = "--input";
  build.encoder = make_packed_encoder(data, tokenizer->get(), vocabulary);
  build.shape.width = vocabulary > 65536 ? 4 : 2;
  build.threads = options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
  const absl::Cleanup remove = [base = build.base] {
    std::error_code error;
    for (const char* end : {".tokens", ".json"}) std::filesystem::remove(base + end, error);
  };
  const int width = build.shape.width;
  const std::string base = build.base;
  const size_t files = build.files.size();
  absl::StatusOr<std::unique_ptr<CacheBuilder>> builder = CacheBuilder::start(std::move(build));
  if (!builder.ok()) return builder.status();
  const std::shared_ptr<const CacheProgress> progress = (*builder)->progress();
  const absl::Time start = absl::Now();
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  CacheIndex index;
  do {
    index = progress->wait([](const CacheIndex& i) { return i.complete || !i.error.empty(); }, absl::Milliseconds(200));
    if (terminal) {
      const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
      std::cerr << tokenize_bar((*builder)->file_bytes(), bytes, (*builder)->text_bytes(), seconds, index.tokens)
                << std::flush;
    }
  } while (!index.complete && index.error.empty());
  if (terminal) std::cerr << "\n";
  if (!index.error.empty()) return absl::Status(static_cast<absl::StatusCode>(index.error_code), index.error);
  if (index.tokens == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--input: there is no text in ", files == 1 ? paths->front() : absl::StrCat(files, " files")));
  }
  std::error_code error;
  std::filesystem::rename(base + ".tokens", options.output, error);
  if (error) return errno_status("cannot rename to", options.output, error.value());
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  std::cout << absl::StrFormat("%d tokens, %d bits each, %s (%.1f MB of text in %.1f s)\n", index.tokens, width * 8,
                               options.output, static_cast<double>((*builder)->text_bytes()) * 1e-6, seconds);
  return absl::OkStatus();
}

}  // namespace galleon
