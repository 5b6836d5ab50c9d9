// One side of a job's data, `data.train` or `data.validation`: which files it is, what becomes of them, and where its
// sequences are read from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/cache_maker.h"
#include "worker/engine/data/epoch_order.h"
#include "worker/engine/data/sequence_store.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/ground/options.h"

namespace galleon {

struct CorpusRequest {
  DataOptions options;
  std::vector<std::string> globs;
  std::string key;                       // of the job file, in errors
  const Tokenizer* tokenizer = nullptr;  // null: token files alone
  int64_t vocabulary = 0;
  LabelSet labels;            // with options.classify
  std::string chat_template;  // its text, with options.format "chat"
  std::string folder;         // where token caches are made and looked for
  SharedCaches shared;        // where they are instead, if other jobs may have the same
  std::string name;           // of the cache in it
  int made_together = 1;      // caches that are made at the same time, which share the processors
};

class Corpus {
 public:
  // Token files that lie unpacked are mapped; everything else becomes a token cache, which this process begins to make
  // in the background. INVALID_ARGUMENT, NOT_FOUND: with the key.
  static absl::StatusOr<std::unique_ptr<Corpus>> make(const CorpusRequest& request);
  // The same corpus in another process, while the one that told `description` makes it.
  static absl::StatusOr<std::unique_ptr<Corpus>> join(const CorpusRequest& request, const std::string& description);
  std::string description() const;

  // Two corpora with the same one give the same sequences: content of the files and the tokenizer, and what is made of
  // them.
  const std::string& fingerprint() const { return fingerprint_; }
  const std::vector<InputFile>& files() const { return files_; }
  SequenceStore& store() { return *store_; }
  // What stands around each document of text; nullopt: there is no text, or another process makes the cache.
  std::optional<DocumentTokens> around_documents() const;
  bool is_mapped() const;
  // The order of training.
  EpochOrder order() const;
  // Waits for the first block, so that what is wrong near the beginning is known before any step, and tells how many
  // sequences there are by then. INVALID_ARGUMENT: not even one.
  absl::StatusOr<StoreProgress> wait_for_start();
  // Waits until all sequences are known.
  absl::StatusOr<StoreProgress> wait_for_all();

 private:
  explicit Corpus(CorpusRequest request) : request_(std::move(request)) {}
  absl::Status find_files();
  absl::Status map();
  absl::Status make_cache();
  absl::Status hold_shared();
  absl::Status open_store(std::shared_ptr<const CacheProgress> progress);
  absl::Status choose_encoder(CacheBuild& build) const;
  std::string base() const;
  absl::Status check_some(const StoreProgress& progress) const;
  int64_t first_block() const;

  CorpusRequest request_;
  std::vector<InputFile> files_;
  std::string fingerprint_;
  DocumentTokens around_;
  std::string shared_name_;          // of the cache in request_.shared.folder; empty: it is not shared
  std::unique_ptr<CacheHold> hold_;  // of a shared one
  std::unique_ptr<CacheMaker> maker_;
  std::unique_ptr<SequenceStore> store_;
};

}  // namespace galleon
