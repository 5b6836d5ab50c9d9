#include "worker/engine/data/corpus.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/log.h"
#include "common/base/object_address.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/byte_ranges.h"
#include "worker/engine/data/files.h"
#include "worker/engine/data/fingerprint.h"
#include "worker/engine/data/mapped_tokens.h"
#include "worker/engine/data/pair_layout.h"
#include "worker/engine/data/recognition.h"
#include "worker/engine/data/unpacking.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

// Tokens, and sequences that are no windows, of the first block of the first epoch: what is tokenized before the first
// step. A few seconds of work; corpora that are smaller are permuted as a whole.
constexpr int64_t kFirstBlockTokens = int64_t{4} << 20;
constexpr int64_t kFirstBlockSequences = 1 << 14;
// Part of every cache's name: to be raised with each change of what a piece of input becomes.
constexpr int64_t kEncodingVersion = 2;
// The same of conversations alone.
constexpr int64_t kChatVersion = 2;

// Files whose compression was not read before: a cache that was made of them as text must not be taken.
void add_packing(const std::string& path, Fingerprint& fingerprint) {
  const Packing packing = packing_of_file(path);
  if (packing != Packing::kNone && packing != Packing::kGzip && packing != Packing::kZstd)
    fingerprint.add_number(static_cast<int64_t>(packing));
}

absl::Status with_key(const std::string& key, const absl::Status& status) {
  if (status.ok() || absl::StartsWith(status.message(), key)) return status;
  return absl::Status(status.code(), absl::StrCat(key, ": ", status.message()));
}

// What stands around labelled texts, unless it is what the tokenizer's special tokens alone say.
absl::Status add_layout(const Tokenizer& tokenizer, Fingerprint& fingerprint) {
  ASSIGN_OR_RETURN(PairLayout layout, pair_layout(tokenizer));
  const SpecialTokens special = tokenizer.special();
  const bool plain =
      layout == (special.classify == special.begin ? PairLayout::roberta(special.classify, special.separator)
                                                   : PairLayout::bert(special.classify, special.separator));
  if (plain) return absl::OkStatus();
  fingerprint.add_number(int64_t{layout.cuts_begin});
  for (const std::vector<PairLayout::Item>* items : {&layout.single, &layout.pair}) {
    fingerprint.add_number(static_cast<int64_t>(items->size()));
    for (const PairLayout::Item& item : *items) {
      for (const int64_t number : {int64_t{item.token}, int64_t{item.text}, int64_t{item.second}})
        fingerprint.add_number(number);
    }
  }
  return absl::OkStatus();
}

// A name for where files lie and when they were changed; nullopt: of some only samples were looked at, and nothing says
// that the rest is what it was.
std::optional<std::string> place_of(const std::vector<InputFile>& files) {
  Fingerprint place;
  int64_t remote_bytes = 0;
  for (const InputFile& file : files) {
    place.add(file.path);
    struct stat status = {};
    if (is_address(file.path)) {
      const absl::StatusOr<std::unique_ptr<ByteRanges>> object = ByteRanges::open(file.path);
      if (!object.ok()) return std::nullopt;
      remote_bytes += (*object)->size();
    } else if (::stat(file.path.c_str(), &status) != 0) {
      return std::nullopt;
    } else {
      for (const int64_t number : {int64_t{status.st_mtim.tv_sec}, int64_t{status.st_mtim.tv_nsec},
                                   int64_t{status.st_ctim.tv_sec}, int64_t{status.st_ctim.tv_nsec}})
        place.add_number(number);
    }
  }
  if (remote_bytes > 0 && !Fingerprint::is_whole(remote_bytes)) return std::nullopt;
  return place.text();
}

// Caches of this name with another fingerprint, from data that has changed since.
void remove_other_caches(const std::string& folder, const std::string& name, const std::string& fingerprint) {
  std::error_code error;
  std::vector<fs::path> old;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string file = entry.path().filename().string();
    const bool ours = absl::StartsWith(file, absl::StrCat(name, "-")) && file.size() > name.size() + 1 + 16 &&
                      file[name.size() + 1 + 16] == '.';
    if (ours && file.compare(name.size() + 1, 16, fingerprint) != 0) old.push_back(entry.path());
  }
  for (const fs::path& path : old) fs::remove(path, error);
}

}  // namespace

absl::Status Corpus::find_files() {
  ASSIGN_OR_RETURN(std::vector<std::string> paths, expand_globs(request_.globs, request_.key));
  for (const std::string& path : paths) {
    absl::StatusOr<InputFormat> format = request_.options.classify ? recognise_rows(request_.options.format, path)
                                                                   : recognise(request_.options.format, path);
    if (!format.ok()) return with_key(request_.key, format.status());
    files_.push_back({path, *format});
  }
  return absl::OkStatus();
}

bool Corpus::is_mapped() const {
  return std::all_of(files_.begin(), files_.end(), [](const InputFile& file) {
    return file.format == InputFormat::kTokens && !is_address(file.path) && !is_compressed(file.path);
  });
}

absl::Status Corpus::map() {
  std::vector<std::string> paths;
  for (const InputFile& file : files_) paths.push_back(file.path);
  absl::StatusOr<std::unique_ptr<SequenceStore>> store =
      map_token_files(paths, request_.vocabulary, request_.options.sequence_length);
  if (!store.ok()) return with_key(request_.key, store.status());
  store_ = *std::move(store);
  return absl::OkStatus();
}

std::optional<DocumentTokens> Corpus::around_documents() const {
  const DataOptions& options = request_.options;
  const bool text = std::any_of(files_.begin(), files_.end(),
                                [](const InputFile& file) { return file.format != InputFormat::kTokens; });
  if (maker_ == nullptr || !text || options.classify || options.format == "chat") return std::nullopt;
  return around_;
}

std::string Corpus::base() const {
  if (!shared_name_.empty()) return absl::StrCat(request_.shared.folder, "/", shared_name_);
  return absl::StrCat(request_.folder, "/", request_.name, "-", fingerprint_);
}

std::string Corpus::description() const {
  return shared_name_.empty() ? fingerprint_ : absl::StrCat(fingerprint_, " ", shared_name_);
}

absl::Status Corpus::choose_encoder(CacheBuild& build) const {
  const DataOptions& options = request_.options;
  if (options.classify) {
    ASSIGN_OR_RETURN(build.encoder, make_classify_encoder(options, request_.labels, *request_.tokenizer));
    build.shape.classifies = true;
    ASSIGN_OR_RETURN(const TsvLayout layout, tsv_layout(options));
    build.pieces.tsv_header = layout.header;
    build.pieces.columns = named_columns(layout);
  } else if (options.format == "chat") {
    if (request_.tokenizer == nullptr) return absl::InvalidArgumentError("data.format: chat needs a tokenizer");
    ASSIGN_OR_RETURN(build.encoder, make_chat_encoder(options, request_.chat_template, *request_.tokenizer));
  } else if (options.packing) {
    build.encoder = make_packed_encoder(options, request_.tokenizer, around_, request_.vocabulary);
  } else {
    if (request_.tokenizer == nullptr) return absl::InvalidArgumentError("data.packing: false needs a tokenizer");
    build.encoder = make_document_encoder(options, *request_.tokenizer, around_);
    build.pieces.first_piece_alone = true;
    build.pieces.piece_bytes = std::max<size_t>(build.pieces.piece_bytes, 64 * options.sequence_length);
  }
  if (!options.classify && options.format != "chat") build.pieces.columns = {options.text_field};
  build.shape.has_sequences = build.encoder->has_sequences();
  build.shape.has_mask = build.encoder->has_mask();
  if (build.shape.has_mask) build.shape.width = 4;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Corpus>> Corpus::make(const CorpusRequest& request) {
  std::unique_ptr<Corpus> corpus(new Corpus(request));
  RETURN_IF_ERROR(corpus->find_files());
  const DataOptions& options = request.options;
  Fingerprint fingerprint;
  std::vector<std::string> paths;
  for (const InputFile& file : corpus->files_) {
    paths.push_back(file.path);
    fingerprint.add_number(static_cast<int64_t>(file.format));
    add_packing(file.path, fingerprint);
  }
  if (absl::Status s = fingerprint.add_files(paths); !s.ok()) return with_key(request.key, s);
  if (request.tokenizer != nullptr) {
    // How text is generated later has no part in what it is trained on.
    std::vector<std::string> files = request.tokenizer->files();
    std::erase_if(files, [](const std::string& path) { return absl::EndsWith(path, "/generation_config.json"); });
    RETURN_IF_ERROR(fingerprint.add_files(files));
    ASSIGN_OR_RETURN(corpus->around_, document_tokens(*request.tokenizer, options.begin_token, options.end_token));
  }
  // Nothing becomes of the ids of token files that are mapped.
  const int64_t version = corpus->is_mapped() ? 1 : kEncodingVersion;
  for (const int64_t number :
       {version, request.vocabulary, options.sequence_length, static_cast<int64_t>(options.packing)})
    fingerprint.add_number(number);
  fingerprint.add(options.text_field);
  if (!corpus->is_mapped()) {
    fingerprint.add_number(corpus->around_.begin);
    fingerprint.add_number(corpus->around_.end);
  }
  fingerprint.add(request.chat_template);
  if (options.format == "chat") fingerprint.add_number(kChatVersion);
  if (!options.template_date.empty()) fingerprint.add(absl::StrCat("date ", options.template_date));
  if (options.skip_bad_rows) fingerprint.add("bad rows are skipped");
  if (options.classify) {
    fingerprint.add(options.glue_task);
    if (options.glue_task.empty()) fingerprint.add("quoted cells");
    for (const std::string& column : options.text_columns) fingerprint.add(column);
    fingerprint.add(options.label_column);
    for (const std::string& name : request.labels.names) fingerprint.add(name);
    RETURN_IF_ERROR(add_layout(*request.tokenizer, fingerprint));
  }
  corpus->fingerprint_ = fingerprint.text();

  if (corpus->is_mapped()) {
    RETURN_IF_ERROR(corpus->map());
    return corpus;
  }
  RETURN_IF_ERROR(corpus->make_cache());
  return corpus;
}

absl::Status Corpus::make_cache() {
  CacheBuild build;
  build.key = request_.key;
  build.files = files_;
  build.pieces.skip_bad_rows = request_.options.skip_bad_rows;
  build.max_bad_rows = request_.options.max_bad_rows;
  build.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / request_.made_together);
  build.shape.width = request_.vocabulary > 65536 ? 4 : 2;
  build.shape.sequence_length = request_.options.sequence_length;
  RETURN_IF_ERROR(choose_encoder(build));
  if (const std::optional<std::string> place = place_of(files_); place && !request_.shared.folder.empty()) {
    shared_name_ = absl::StrCat(request_.name, "-", fingerprint_, "-", *place);
    if (build.pieces.skip_bad_rows) absl::StrAppend(&shared_name_, "-", build.max_bad_rows);
    const absl::Status held = hold_shared();
    if (!held.ok()) {
      log_warning(request_.key, ": its tokens are not shared with other jobs: ", std::string(held.message()));
      shared_name_.clear();
    }
  }
  if (hold_ == nullptr) RETURN_IF_ERROR(make_folders(request_.folder));
  remove_other_caches(request_.folder, request_.name, hold_ == nullptr ? fingerprint_ : "");
  build.base = base();
  absl::StatusOr<std::unique_ptr<CacheMaker>> maker = CacheMaker::start(std::move(build), std::move(hold_));
  if (!maker.ok()) return with_key(request_.key, maker.status());
  maker_ = *std::move(maker);
  return with_key(request_.key, open_store(maker_->progress()));
}

absl::Status Corpus::hold_shared() {
  ASSIGN_OR_RETURN(hold_, CacheHold::take(request_.shared.folder, shared_name_));
  const absl::StatusOr<int> removed = trim(request_.shared);
  if (removed.ok() && *removed > 0)
    log_info("tokens of ", *removed, " data sets that no job uses now are removed from ", request_.shared.folder);
  return absl::OkStatus();
}

absl::Status Corpus::open_store(std::shared_ptr<const CacheProgress> progress) {
  ASSIGN_OR_RETURN(store_, open_token_cache(base(), std::move(progress)));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Corpus>> Corpus::join(const CorpusRequest& request, const std::string& description) {
  std::unique_ptr<Corpus> corpus(new Corpus(request));
  RETURN_IF_ERROR(corpus->find_files());
  const std::vector<std::string> names = absl::StrSplit(description, absl::MaxSplits(' ', 1));
  corpus->fingerprint_ = names[0];
  if (corpus->is_mapped()) {
    RETURN_IF_ERROR(corpus->map());
    return corpus;
  }
  if (names.size() == 2) {
    corpus->shared_name_ = names[1];
    absl::StatusOr<std::unique_ptr<CacheHold>> hold = CacheHold::take(request.shared.folder, names[1]);
    if (!hold.ok()) return with_key(request.key, hold.status());
    corpus->hold_ = *std::move(hold);
  }
  RETURN_IF_ERROR(with_key(request.key, corpus->open_store(nullptr)));
  return corpus;
}

int64_t Corpus::first_block() const {
  // Labelled rows are few, and all of them are looked at before the first step.
  if (request_.options.classify) return std::numeric_limits<int64_t>::max() / 4;
  // The order of token files is a promise: one permutation of all windows.
  const bool tokens = std::all_of(files_.begin(), files_.end(),
                                  [](const InputFile& file) { return file.format == InputFormat::kTokens; });
  if (tokens) return std::numeric_limits<int64_t>::max() / 4;
  if (!request_.options.packing || request_.options.format == "chat") return kFirstBlockSequences;
  return std::max<int64_t>(1, kFirstBlockTokens / request_.options.sequence_length);
}

EpochOrder Corpus::order() const {
  return EpochOrder(request_.options.shuffle, request_.options.seed, first_block());
}

absl::Status Corpus::check_some(const StoreProgress& progress) const {
  if (progress.sequences > 0) return absl::OkStatus();
  if (progress.tokens == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(request_.key, ": there is no text in ",
                     files_.size() == 1 ? files_.front().path : absl::StrCat(files_.size(), " files")));
  }
  const int64_t length = request_.options.sequence_length;
  return absl::InvalidArgumentError(absl::StrCat(request_.key, ": ", progress.tokens,
                                                 " tokens are too few for one sequence of data.sequence_length ",
                                                 length, " and its last target; at least ", length + 1, " are needed"));
}

absl::StatusOr<StoreProgress> Corpus::wait_for_start() {
  ASSIGN_OR_RETURN(StoreProgress progress, store_->wait_for(first_block()));
  RETURN_IF_ERROR(store_->error());
  RETURN_IF_ERROR(check_some(progress));
  return progress;
}

absl::StatusOr<StoreProgress> Corpus::wait_for_all() {
  ASSIGN_OR_RETURN(StoreProgress progress, store_->wait_for(std::numeric_limits<int64_t>::max()));
  RETURN_IF_ERROR(check_some(progress));
  return progress;
}

}  // namespace galleon
