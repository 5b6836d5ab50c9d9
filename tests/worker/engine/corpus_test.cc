// What training reads: how files become sequences, in which order, and that it depends neither on threads nor on ranks.
#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/cache_builder.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/step_feed.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

class CorpusTest : public testing::Test {
 protected:
  CorpusRequest request(const std::vector<std::string>& globs) {
    CorpusRequest r;
    r.globs = globs;
    r.key = "data.train";
    r.tokenizer = tokenizer_.get();
    r.vocabulary = 257;
    r.options.sequence_length = 8;
    r.folder = folder_.path() + "/data";
    r.name = "train";
    return r;
  }
  // All tokens of a corpus of bytes, the end token as "|".
  std::string text_of(const CorpusRequest& r) {
    absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
    EXPECT_TRUE(corpus.ok()) << corpus.status();
    if (!corpus.ok()) return "";
    absl::StatusOr<StoreProgress> all = (*corpus)->wait_for_all();
    EXPECT_TRUE(all.ok()) << all.status();
    if (!all.ok()) return "";
    std::string text;
    Sequence s;
    for (int64_t i = 0; i < all->sequences; ++i) {
      EXPECT_TRUE((*corpus)->store().read(i, s).ok());
      for (const int32_t id : s.ids) text.push_back(id == 256 ? '|' : static_cast<char>(id));
      if (i + 1 == all->sequences) text.push_back(s.targets.back() == 256 ? '|' : static_cast<char>(s.targets.back()));
    }
    return text;
  }
  std::string error_of(const CorpusRequest& r) {
    absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
    if (!corpus.ok()) return std::string(corpus.status().message());
    return std::string((*corpus)->wait_for_start().status().message());
  }

  TestFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = *open_tokenizer("bytes");
};

TEST_F(CorpusTest, TextJsonLinesAndBothPackedInEitherWayGiveOneRow) {
  const std::string lines = "{\"text\": \"one\"}\n\n{\"text\": \"two\", \"url\": 1}\r\n{\"text\": \"three!\"}";
  folder_.write("a.txt", "\xEF\xBB\xBFplain text");
  folder_.write("b.json", lines);
  folder_.write("c.json.gz", gzip(lines + "\n") + gzip("{\"text\": \"member\"}\n") + std::string(5, '\0'));
  folder_.write("d.jsonl.zst", zstd(lines));
  const std::string all = "one|two|three!|";
  EXPECT_EQ(text_of(request({folder_.path() + "/*.*"})).substr(0, 56),
            ("plain text|" + all + all + "member|" + all).substr(0, 56));
}

TEST_F(CorpusTest, AnEmptyShardAmongGoodOnesIsNamedAndLeftOut) {
  folder_.write("1.jsonl", "{\"text\": \"some words\"}\n");
  folder_.write("2.jsonl", "");
  folder_.write("3.jsonl.gz", gzip(""));
  folder_.write("4.jsonl", "{\"text\": \"and others\"}\n");
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(request({folder_.path() + "/*"}));
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  ASSERT_TRUE((*corpus)->wait_for_all().ok());
  EXPECT_THAT((*corpus)->store().notes(),
              ElementsAre(HasSubstr("nothing in " + folder_.path() + "/2.jsonl; it is left out"),
                          HasSubstr("nothing in " + folder_.path() + "/3.jsonl.gz; it is left out")));
}

TEST_F(CorpusTest, WhatIsWrongIsNamedWithFileAndLine) {
  EXPECT_THAT(error_of(request({folder_.write("bad.jsonl", "{\"text\": \"a\"}\n\n{\"text\": 3}\n")})),
              HasSubstr("bad.jsonl:3: no text field \"text\" (data.text_field)"));
  EXPECT_THAT(error_of(request({folder_.write("cut.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b")})),
              HasSubstr("cut.jsonl:2: not a JSON object"));
  const std::string packed = gzip(std::string(100000, 'x') + "abcdefgh");
  EXPECT_THAT(error_of(request({folder_.write("cut.txt.gz", packed.substr(0, packed.size() / 2))})),
              HasSubstr("cut.txt.gz: gzip data ends too early; the file is truncated"));
  EXPECT_THAT(error_of(request({folder_.write("bent.txt.zst", zstd("some text").substr(0, 12))})),
              HasSubstr("bent.txt.zst: zstd data ends too early"));
  CorpusRequest ids = request({folder_.write("odd.tokens.gz", gzip("abc"))});
  EXPECT_THAT(error_of(ids), HasSubstr("odd.tokens.gz: 3 bytes is not a whole number of 16-bit ids"));
}

TEST_F(CorpusTest, BrokenUtf8InAJsonLineBecomesAReplacementCharacter) {
  const std::string text = text_of(request({folder_.write("b.jsonl", "{\"text\": \"a\xFFz and more\"}\n")}));
  EXPECT_EQ(text.substr(0, 5), "a\xEF\xBF\xBDz");
}

TEST_F(CorpusTest, ALongDocumentIsCutBehindLinesThatEndInAWordAndGoOnWithOne) {
  std::string text;
  for (int i = 0; text.size() < 3000; ++i) text += i % 7 == 3 ? "end.\n\n" : i % 5 == 0 ? "word\nWord " : "some words ";
  PieceOptions options;
  options.piece_bytes = 256;
  PieceReader reader({{folder_.write("long.txt", text), InputFormat::kText}}, 0, options);
  std::string joined;
  int pieces = 0;
  while (true) {
    absl::StatusOr<std::optional<InputPiece>> piece = reader.next();
    ASSERT_TRUE(piece.ok());
    if (!piece->has_value()) break;
    const InputPiece& p = **piece;
    EXPECT_LE(p.text.size(), 256U);
    EXPECT_EQ(p.begins_file, joined.empty());
    EXPECT_EQ(p.first_byte, static_cast<int64_t>(joined.size()));
    joined += p.text;
    EXPECT_EQ(p.ends_document, joined.size() == text.size());
    if (!p.ends_document) {
      EXPECT_TRUE(absl::EndsWith(p.text, "word\n")) << p.text;
    }
    ++pieces;
  }
  EXPECT_EQ(joined, text);
  EXPECT_GT(pieces, 11);
}

TEST_F(CorpusTest, ALineIsNeverCut) {
  const std::string text = "short\n" + std::string(1000, 'x') + "\nshort\n\n" + std::string(70, 'y');
  PieceOptions options;
  options.piece_bytes = 64;
  PieceReader reader({{folder_.write("l.jsonl", "\xEF\xBB\xBF" + text), InputFormat::kJsonLines}}, 0, options);
  std::vector<int64_t> first_lines;
  std::string joined;
  while (true) {
    absl::StatusOr<std::optional<InputPiece>> piece = reader.next();
    ASSERT_TRUE(piece.ok());
    if (!piece->has_value()) break;
    first_lines.push_back((*piece)->first_line);
    joined += (*piece)->text;
    EXPECT_TRUE((*piece)->ends_file || absl::EndsWith((*piece)->text, "\n"));
  }
  EXPECT_EQ(joined, text);
  EXPECT_THAT(first_lines, ElementsAre(1, 2, 3, 5));
}

TEST_F(CorpusTest, AnInterruptedCacheGoesOnBehindTheLastWholeFile) {
  for (int i = 0; i < 4; ++i) folder_.write(absl::StrCat(i, ".txt"), made_up_text(50 + i, i));
  const CorpusRequest r = request({folder_.path() + "/*.txt"});
  const std::string whole = text_of(r);
  std::string base;
  for (const auto& entry : std::filesystem::directory_iterator(r.folder)) {
    if (absl::EndsWith(entry.path().string(), ".json")) base = entry.path().string();
  }
  base.resize(base.size() - 5);
  absl::StatusOr<CacheIndex> index = CacheIndex::read(base);
  ASSERT_TRUE(index.ok());
  EXPECT_TRUE(index->complete);
  EXPECT_EQ(index->files_done, 4);
  // As it was when two files were in and a part of the third.
  index->complete = false;
  index->files_done = 2;
  index->tokens_of_files = made_up_text(50, 0).size() + made_up_text(51, 1).size() + 2;
  index->tokens = index->tokens_of_files + 7;
  ASSERT_TRUE(index->write(base).ok());
  std::filesystem::resize_file(base + ".tokens", index->tokens * 2);
  EXPECT_EQ(text_of(r), whole);
  // One that is complete is not made again, not even where the input is gone.
  const auto written = std::filesystem::last_write_time(base + ".tokens");
  EXPECT_EQ(text_of(r), whole);
  EXPECT_EQ(std::filesystem::last_write_time(base + ".tokens"), written);
  // Other data, another cache; the old one goes.
  folder_.write("0.txt", made_up_text(50, 77));
  EXPECT_NE(text_of(r), whole);
  EXPECT_FALSE(std::filesystem::exists(base + ".tokens"));
}

TEST_F(CorpusTest, WhatHasComeCanBeReadWhileSlowStorageKeepsTheRestWaiting) {
  const std::string slow = folder_.path() + "/slow.txt";
  ASSERT_EQ(::mkfifo(slow.c_str(), 0600), 0);
  const DataOptions options;
  CacheBuild build;
  ASSERT_TRUE(make_folders(folder_.path() + "/data").ok());
  build.base = folder_.path() + "/data/slow";
  build.key = "data.train";
  build.files = {{folder_.write("fast.txt", std::string(100, 'a')), InputFormat::kText}, {slow, InputFormat::kText}};
  build.encoder = make_packed_encoder(options, tokenizer_.get(), {-1, tokenizer_->end_token()}, 257);
  build.shape.sequence_length = 10;
  build.threads = 2;
  absl::StatusOr<std::unique_ptr<CacheBuilder>> builder = CacheBuilder::start(build);
  ASSERT_TRUE(builder.ok()) << builder.status();
  absl::StatusOr<std::unique_ptr<SequenceStore>> here = open_token_cache(build.base, (*builder)->progress());
  absl::StatusOr<std::unique_ptr<SequenceStore>> elsewhere = open_token_cache(build.base, nullptr);
  ASSERT_TRUE(here.ok() && elsewhere.ok());
  absl::StatusOr<StoreProgress> progress = (*here)->wait_for(10);
  ASSERT_TRUE(progress.ok());
  EXPECT_EQ(progress->sequences, 10);
  EXPECT_FALSE(progress->complete);
  Sequence s;
  EXPECT_TRUE((*here)->read(9, s).ok());
  EXPECT_EQ(s.ids, std::vector<int32_t>(10, 'a'));
  const int writer = ::open(slow.c_str(), O_WRONLY);
  const std::string more(100, 'b');
  ASSERT_EQ(::write(writer, more.data(), more.size()), 100);
  ::close(writer);
  // Another process learns of it through the index.
  progress = (*elsewhere)->wait_for(20);
  ASSERT_TRUE(progress.ok()) << progress.status();
  EXPECT_EQ(progress->sequences, 20);
  EXPECT_TRUE((*elsewhere)->read(19, s).ok());
  EXPECT_EQ(s.ids, std::vector<int32_t>(10, 'b'));
}

TEST_F(CorpusTest, WithoutPackingADocumentIsASequenceCutOrPaddedAndOnlyItsOwnTargetsCount) {
  folder_.write("a.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"\"}\n{\"text\": \"0123456789\"}\n");
  folder_.write("b.txt", "xy");
  CorpusRequest r = request({folder_.path() + "/*.*"});
  r.options.packing = false;
  r.options.shuffle = false;
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  absl::StatusOr<StoreProgress> all = (*corpus)->wait_for_all();
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->sequences, 3);
  EXPECT_THAT((*corpus)->store().notes(), ElementsAre(HasSubstr("1 input left out, the first at " + folder_.path() +
                                                                "/a.jsonl:2, which holds no text"),
                                                      HasSubstr("1 of 3 rows are longer than data.sequence_length 8")));
  FeedShape shape;
  shape.global_batch = shape.micro_batch = 3;
  shape.sequence_length = 8;
  shape.padding = 9;
  StepFeed feed(TrainingOrder((*corpus)->store(), (*corpus)->order()), shape, 1, 1);
  absl::StatusOr<StepData> step = feed.next();
  ASSERT_TRUE(step.ok()) << step.status();
  const Batch& batch = step->passes[0];
  EXPECT_EQ(step->targets, 3 + 8 + 2);
  EXPECT_THAT(batch.lengths, ElementsAre(3, 8, 2));
  EXPECT_THAT(batch.ids, ElementsAre('a', 'b', 'c', 9, 9, 9, 9, 9, '0', '1', '2', '3', '4', '5', '6', '7', 'x', 'y', 9,
                                     9, 9, 9, 9, 9));
  EXPECT_THAT(batch.targets, ElementsAre('b', 'c', 256, -1, -1, -1, -1, -1, '1', '2', '3', '4', '5', '6', '7', '8', 'y',
                                         256, -1, -1, -1, -1, -1, -1));
}

// Kilobytes of memory: "VmRSS", or since the mark was reset the highest, "VmHWM".
int64_t memory_kb(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (absl::StartsWith(line, field + ":")) return std::strtoll(line.c_str() + field.size() + 1, nullptr, 10);
  }
  return 0;
}

TEST_F(CorpusTest, MemoryDoesNotGrowWithTheCorpus) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer keeps freed memory for a while";
#endif
  // 96 MB in one document and as much in lines, packed. What is under way is some four pieces of 256 kB and their
  // tokens for each thread; 48 MB leaves room for the allocator's own.
  constexpr int64_t kText = 96 << 20;
  std::string block;
  for (int i = 0; block.size() < (1 << 20); ++i) block += made_up_text(12, static_cast<uint64_t>(i)) + "\n";
  const std::string document = folder_.path() + "/document.txt";
  const std::string lines = folder_.path() + "/lines.jsonl.gz";
  {
    std::ofstream text(document);
    gzFile packed = gzopen(lines.c_str(), "wb1");
    for (int64_t written = 0; written < kText; written += static_cast<int64_t>(block.size())) {
      text << block;
      for (size_t at = 0; at + 4096 < block.size(); at += 4096) {
        const std::string line =
            "{\"text\": \"" + absl::StrReplaceAll(block.substr(at, 4096), {{"\n", "\\n"}}) + "\"}\n";
        gzwrite(packed, line.data(), static_cast<unsigned>(line.size()));
      }
    }
    gzclose(packed);
  }
  std::ofstream("/proc/self/clear_refs") << "5";  // the mark falls to what is held now
  const int64_t before = memory_kb("VmRSS");
  CorpusRequest r = request({document, lines});
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  absl::StatusOr<StoreProgress> all = (*corpus)->wait_for_all();
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_GT(all->tokens, 2 * kText - (4 << 20));
  Sequence s;
  for (int64_t i = 0; i < 1000; ++i) ASSERT_TRUE((*corpus)->store().read(permuted(i, all->sequences, 7), s).ok());
  EXPECT_LT(memory_kb("VmHWM") - before, 48 << 10);
}

// Sequences 0…count−1, the i-th of which is of the number i alone.
class NumberStore final : public SequenceStore {
 public:
  NumberStore(int64_t count, int64_t each_time) : count_(count), each_time_(each_time) {}
  absl::StatusOr<StoreProgress> wait_for(int64_t sequences, absl::Duration) override {
    while (known_ < std::min(sequences, count_)) known_ += each_time_;
    known_ = std::min(known_ + (sequences > count_ ? each_time_ : 0), count_);
    return StoreProgress{known_, known_ == count_ && sequences > count_};
  }
  absl::Status read(int64_t index, Sequence& out) override {
    EXPECT_LT(index, known_) << "was read before it was there";
    out.ids = {static_cast<int32_t>(index), static_cast<int32_t>(index)};
    out.targets = {static_cast<int32_t>(index), -1};
    out.second = 2;
    return absl::OkStatus();
  }
  absl::StatusOr<int64_t> targets(int64_t) override { return 1; }
  absl::StatusOr<int64_t> inputs(int64_t) override { return 2; }
  std::vector<std::string> notes() override { return {}; }

 private:
  int64_t count_;
  int64_t each_time_;
  int64_t known_ = 0;
};

// The numbers that one rank reads, step by step.
std::vector<std::vector<int32_t>> numbers_of(int64_t count, int64_t each_time, const EpochOrder& order, int rank,
                                             int ranks, int64_t first_step, int64_t last_step) {
  NumberStore store(count, each_time);
  FeedShape shape;
  shape.global_batch = 12;
  shape.micro_batch = 2;
  shape.sequence_length = 3;
  shape.rank = rank;
  shape.ranks = ranks;
  shape.padding = -7;
  StepFeed feed(TrainingOrder(store, order), shape, first_step, last_step);
  std::vector<std::vector<int32_t>> steps;
  for (int64_t step = first_step; step <= last_step; ++step) {
    absl::StatusOr<StepData> data = feed.next();
    EXPECT_TRUE(data.ok()) << data.status();
    if (!data.ok()) return steps;
    EXPECT_EQ(data->targets, 12);
    EXPECT_EQ(data->inputs, 24);
    steps.emplace_back();
    for (const Batch& batch : data->passes) {
      for (int64_t row = 0; row < batch.sequences; ++row) {
        steps.back().push_back(batch.ids[row * 3]);
        EXPECT_EQ(batch.ids[row * 3 + 2], -7);
        EXPECT_EQ(batch.targets[row * 3 + 1], -1);
        EXPECT_EQ(batch.targets[row * 3 + 2], -1);
        EXPECT_EQ(batch.lengths[row], 2);
      }
    }
  }
  return steps;
}

TEST(EpochOrder, AStepSeesTheSameSequencesWhateverTheRanksAndHoweverTheyCome) {
  const EpochOrder order(true, 42, 8);
  const std::vector<std::vector<int32_t>> one = numbers_of(100, 1, order, 0, 1, 1, 40);
  for (const int ranks : {2, 3, 6}) {
    std::vector<std::vector<std::vector<int32_t>>> of_rank;
    for (int rank = 0; rank < ranks; ++rank) of_rank.push_back(numbers_of(100, 37, order, rank, ranks, 1, 40));
    for (size_t step = 0; step < one.size(); ++step) {
      std::vector<int32_t> joined;
      for (const auto& steps : of_rank) joined.insert(joined.end(), steps[step].begin(), steps[step].end());
      std::vector<int32_t> expected = one[step];
      std::sort(joined.begin(), joined.end());
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(joined, expected) << "step " << step + 1 << " on " << ranks;
    }
  }
}

TEST(EpochOrder, AStepIsFoundWithoutThoseBeforeIt) {
  const EpochOrder order(true, 7, 16);
  const std::vector<std::vector<int32_t>> all = numbers_of(70, 5, order, 1, 2, 1, 30);
  const std::vector<std::vector<int32_t>> rest = numbers_of(70, 70, order, 1, 2, 18, 30);
  EXPECT_EQ(rest, std::vector<std::vector<int32_t>>(all.begin() + 17, all.end()));
}

TEST(EpochOrder, EachEpochIsEverySequenceOnceAndAnotherPermutation) {
  for (const int64_t first_block : {1, 8, 1000}) {
    const EpochOrder order(true, 42, first_block);
    std::set<std::vector<int64_t>> permutations;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<int64_t> seen;
      for (int64_t n = epoch * 100; n < epoch * 100 + 100; ++n) seen.push_back(order.place(n, {100, true, 0}).index);
      permutations.insert(seen);
      std::sort(seen.begin(), seen.end());
      for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(seen[i], i);
    }
    EXPECT_EQ(permutations.size(), 3U);
  }
}

TEST(EpochOrder, TheFirstEpochWaitsForOneBlockAtATime) {
  const EpochOrder order(true, 42, 8);
  EXPECT_EQ(order.place(0, {7, false, 0}).needed, 8);
  EXPECT_GE(order.place(0, {8, false, 0}).index, 0);
  EXPECT_EQ(order.place(8, {20, false, 0}).needed, 24);
  for (int64_t n = 8; n < 24; ++n) {
    EXPECT_GE(order.place(n, {24, false, 0}).index, 8);
    EXPECT_LT(order.place(n, {24, false, 0}).index, 24);
    // It is the same when more have come.
    EXPECT_EQ(order.place(n, {24, false, 0}).index, order.place(n, {100, true, 0}).index);
  }
  EXPECT_EQ(order.place(24, {24, false, 0}).needed, 56);
}

// The order of token files is a promise. Numbers recorded when it was made.
TEST(EpochOrder, WindowsOfTokenFilesHaveTheirRecordedPlaces) {
  const EpochOrder order(true, 42, int64_t{1} << 60);
  std::vector<int64_t> places;
  for (int64_t n : {0, 1, 2, 3, 4, 999, 1000, 1001, 5000}) places.push_back(order.place(n, {1000, true, 0}).index);
  EXPECT_THAT(places, ElementsAre(515, 632, 372, 621, 279, 933, 396, 721, 871));
  const EpochOrder in_order(false, 42, 8);
  EXPECT_EQ(in_order.place(1002, {1000, true, 0}).index, 2);
}

TEST_F(CorpusTest, MappedFilesAreOneRowAcrossTheirBorders) {
  const auto ids = [](int from, int to) {
    std::string bytes;
    for (int i = from; i < to; ++i) bytes += {static_cast<char>(i), '\0'};
    return bytes;
  };
  folder_.write("a.tokens", ids(0, 5));
  folder_.write("b.tokens", "");
  folder_.write("c.tokens", ids(5, 30));
  CorpusRequest r = request({folder_.path() + "/*.tokens"});
  r.tokenizer = nullptr;
  r.vocabulary = 30;
  absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_TRUE((*corpus)->is_mapped());
  absl::StatusOr<StoreProgress> all = (*corpus)->wait_for_all();
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->sequences, 3);
  Sequence s;
  for (int64_t i = 0; i < 3; ++i) {
    ASSERT_TRUE((*corpus)->store().read(i, s).ok());
    for (int j = 0; j < 8; ++j) {
      EXPECT_EQ(s.ids[j], i * 8 + j);
      EXPECT_EQ(s.targets[j], i * 8 + j + 1);
    }
  }
  r.vocabulary = 29;
  EXPECT_THAT(error_of(r), HasSubstr("c.tokens: id 29 at position 24 does not fit the vocabulary of 29"));
}

}  // namespace
}  // namespace galleon
