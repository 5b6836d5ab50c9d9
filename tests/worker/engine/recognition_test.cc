// What a file is, told by its content: what is read gives the same rows whatever it is packed or written in, and what
// is not text is refused by name and reason.
#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "absl/strings/str_cat.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/files.h"
#include "worker/engine/data/recognition.h"
#include "worker/engine/data/table_rows.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string bytes(const char* text, size_t size) {
  return {text, size};
}

std::string xz(const std::string& text) {
  std::string out(text.size() + 1024, '\0');
  size_t used = 0;
  EXPECT_EQ(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const uint8_t*>(text.data()),
                                    text.size(), reinterpret_cast<uint8_t*>(out.data()), &used, out.size()),
            LZMA_OK);
  return out.substr(0, used);
}

std::string bz2(const std::string& text) {
  std::string out(text.size() + 1024, '\0');
  auto size = static_cast<unsigned>(out.size());
  EXPECT_EQ(BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(text.data()),
                                     static_cast<unsigned>(text.size()), 9, 0, 0),
            BZ_OK);
  return out.substr(0, size);
}

std::string zstd(const std::string& text, int window_log = 0) {
  ZSTD_CCtx* state = ZSTD_createCCtx();
  if (window_log > 0) ZSTD_CCtx_setParameter(state, ZSTD_c_windowLog, window_log);
  // Without the size of the content the frame keeps its window.
  ZSTD_CCtx_setParameter(state, ZSTD_c_contentSizeFlag, 0);
  std::string out(ZSTD_compressBound(text.size()) + 64, '\0');
  ZSTD_inBuffer input{text.data(), text.size(), 0};
  ZSTD_outBuffer output{out.data(), out.size(), 0};
  EXPECT_EQ(ZSTD_compressStream2(state, &output, &input, ZSTD_e_flush) == 0, true);
  EXPECT_EQ(ZSTD_compressStream2(state, &output, &input, ZSTD_e_end), 0U);
  ZSTD_freeCCtx(state);
  return out.substr(0, output.pos);
}

std::string skippable(const std::string& content) {
  const auto size = static_cast<uint32_t>(content.size());
  std::string frame("\x5a\x2a\x4d\x18", 4);
  frame.append(reinterpret_cast<const char*>(&size), 4);
  return frame + content;
}

class RecognitionTest : public testing::Test {
 protected:
  CorpusRequest request(const std::string& file, const std::string& format = "auto") {
    CorpusRequest r;
    r.globs = {file};
    r.key = "data.train";
    r.tokenizer = tokenizer_.get();
    r.vocabulary = 257;
    r.options.sequence_length = 1;
    r.options.format = format;
    r.folder = folder_.path() + "/data";
    r.name = "train";
    return r;
  }
  // The row of bytes, the end token as "|"; or the error.
  std::string text_of(const CorpusRequest& r, std::vector<std::string>* notes = nullptr) {
    absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
    if (!corpus.ok()) return std::string(corpus.status().message());
    absl::StatusOr<StoreProgress> all = (*corpus)->wait_for_all();
    if (!all.ok()) return std::string(all.status().message());
    std::string text;
    Sequence s;
    for (int64_t i = 0; i < all->sequences; ++i) {
      EXPECT_TRUE((*corpus)->store().read(i, s).ok());
      text.push_back(s.ids[0] == 256 ? '|' : static_cast<char>(s.ids[0]));
      if (i + 1 == all->sequences) text.push_back(s.targets[0] == 256 ? '|' : static_cast<char>(s.targets[0]));
    }
    if (notes != nullptr) *notes = (*corpus)->store().notes();
    return text;
  }
  std::string text_of_file(const std::string& name, const std::string& content, const std::string& format = "auto") {
    return text_of(request(folder_.write(name, content), format));
  }

  TestFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = *open_tokenizer("bytes");
};

const char* const kLines = "{\"text\": \"one\"}\n{\"text\": \"two\", \"n\": [1, {\"a\": \"]\"}]}\n";

TEST_F(RecognitionTest, AnArrayOfStringsIsRefusedByName) {
  const struct {
    const char* name;
    const char* content;
    const char* format = "auto";
    bool refused = true;
  } cases[] = {
      {"a.json", "[\"text one\",\"text two\"]"},
      {"a.txt", " [\n \"one \\\" more\" ]"},
      {"a.jsonl", "[\"one\"]\n[\"two\"]\n", "jsonl"},
      {"a.json", "[\"text one\",\"text two\"]", "text", false},
      {"a.txt", "[\"No,\" he said.] And left.", "auto", false},
  };
  for (const auto& c : cases) {
    const std::string read = text_of_file(c.name, c.content, c.format);
    if (c.refused)
      EXPECT_THAT(read, HasSubstr(absl::StrCat(c.name, " is a JSON array of strings; rows are objects")));
    else
      EXPECT_EQ(read, absl::StrCat(c.content, "|"));
  }
}

TEST_F(RecognitionTest, ARowHasABoundAndALineOfTextHasNone) {
  const std::string row = "{\"text\": \"" + std::string(5000, 'x') + "\"}\n";
  const struct {
    const char* name;
    InputFormat format;
    std::string content;
    size_t longest;
    const char* error;
  } cases[] = {
      {"a.jsonl", InputFormat::kJsonLines, "{\"text\": \"a\"}\n" + row, 5013, ""},
      {"a.jsonl", InputFormat::kJsonLines, "{\"text\": \"a\"}\n" + row, 5000,
       "a.jsonl:2: a row that does not end in 0"},
      {"a.json", InputFormat::kJsonArray, "[{\"text\": \"a\"}, " + row + "]", 5000,
       "a.json:2: a row that does not end"},
      {"c.jsonl", InputFormat::kChat, row, 5000, "c.jsonl:1: a row that does not end"},
      {"a.tsv", InputFormat::kTsv, "sentence\tlabel\n" + row, 5000, "a.tsv:2: a row that does not end"},
      {"a.csv", InputFormat::kCsv, "text\n\"" + row, 5000, "a.csv:2: a row that does not end in 0 MiB; is a quot"},
      {"a.txt", InputFormat::kText, row, 5000, ""},
  };
  for (const auto& c : cases) {
    PieceOptions options;
    options.piece_bytes = 64;
    options.longest_row = c.longest;
    PieceReader reader({{folder_.write(c.name, c.content), c.format}}, 0, options);
    std::string error;
    size_t bytes = 0;
    while (true) {
      absl::StatusOr<std::optional<InputPiece>> piece = reader.next();
      if (!piece.ok()) error = std::string(piece.status().message());
      if (!piece.ok() || !piece->has_value()) break;
      bytes += (*piece)->text.size();
    }
    if (*c.error == 0) {
      EXPECT_EQ(error, "");
      EXPECT_EQ(bytes, c.content.size());
    } else {
      EXPECT_THAT(error, HasSubstr(c.error));
    }
  }
  EXPECT_EQ(PieceOptions().longest_row, 64U << 20) << "as docs/reference/data.md says";
}

TEST_F(RecognitionTest, RowsAreTheSameWhateverTheyAreWrittenIn) {
  const std::string lines = kLines;
  const std::string array = "\xEF\xBB\xBF [ {\"text\":\n \"one\"} ,\r\n{\"text\": \"two\", \"n\": [\"}]\\\"\"]}\n]\n";
  const struct {
    const char* name;
    std::string content;
    const char* format = "auto";
  } cases[] = {
      {"a.jsonl", lines},
      {"a.ndjson", lines},
      {"a.jsonlines", lines},
      {"A.JSONL", lines},
      {"a.txt", lines},
      {"none", "\n\n" + lines},
      {"a.jsonl.zstd", zstd(lines)},
      {"a.jsonl.bz2", bz2(lines)},
      {"two.bz2", bz2(lines.substr(0, 16)) + bz2(lines.substr(16))},
      {"a.jsonl.xz", xz(lines)},
      {"two.xz", xz(lines.substr(0, 16)) + std::string(4, '\0') + xz(lines.substr(16))},
      {"wrong-name.gz", xz(lines)},
      {"skip.zst", skippable("metadata") + zstd(lines)},
      {"between.zst", zstd(lines.substr(0, 16)) + skippable("") + zstd(lines.substr(16)) + skippable("end")},
      {"wide.zst", zstd(lines, 28)},
      {"a.json", array},
      {"array.txt", array},
      {"array.jsonl", array, "jsonl"},
      {"a.json.xz", xz(array)},
      {"a.csv", "\xEF\xBB\xBFid,text\r\n1,one\r\n2,\"two\"\r\n"},
      {"a.CSV.gz", bz2("id,text\n1,one\n\n2,two")},
      {"any.txt", "text\none\ntwo\n", "csv"},
      {"a.tsv", "id\ttext\n1\tone\n2\t\"two\"\n"},
  };
  for (const auto& c : cases) EXPECT_EQ(text_of_file(c.name, c.content, c.format), "one|two|") << c.name;
}

TEST_F(RecognitionTest, CellsMayHoldSeparatorsQuotesAndLineBreaks) {
  EXPECT_EQ(text_of_file("a.csv", "text,b\n\"a, \"\"b\"\"\nc\",x\n5\" disk,y\n"), "a, \"b\"\nc|5\" disk|");
  EXPECT_EQ(text_of_file("a.tsv", "text\tb\n\"a\tb\"\tx\n"), "a\tb|");
}

TEST_F(RecognitionTest, ATableIsCutBetweenRowsAlone) {
  std::string table = "text,n\n";
  std::string wanted;
  for (int i = 0; i < 200; ++i) {
    absl::StrAppend(&table, "\"row ", i, "\n, \"\"\",", i, "\n");
    absl::StrAppend(&wanted, "row ", i, "\n, \"");
  }
  PieceOptions options;
  options.piece_bytes = 37;
  PieceReader reader({{folder_.write("t.csv", table), InputFormat::kCsv}}, 0, options);
  std::string joined;
  int64_t line = 2;
  while (true) {
    absl::StatusOr<std::optional<InputPiece>> piece = reader.next();
    ASSERT_TRUE(piece.ok()) << piece.status();
    if (!piece->has_value()) break;
    EXPECT_EQ((*piece)->header, "text,n");
    EXPECT_EQ((*piece)->first_line, line);
    line += std::count((*piece)->text.begin(), (*piece)->text.end(), '\n');
    absl::string_view rest = (*piece)->text;
    while (!rest.empty()) {
      const size_t size = std::min(row_bytes(rest, ','), rest.size());
      absl::StatusOr<std::vector<std::string>> cells = cells_of_row(rest.substr(0, size), ',');
      ASSERT_TRUE(cells.ok()) << cells.status() << rest;
      joined += (*cells)[0];
      rest.remove_prefix(size);
    }
  }
  EXPECT_EQ(joined, wanted);
}

TEST_F(RecognitionTest, WhatIsNoTextIsRefusedByNameAndReason) {
  std::string tar(512, 'x');
  tar.replace(257, 5, "ustar");
  const std::string latin =
      "Die K\xF6nigin \xFC"
      "ber M\xE4rchen\n";
  const struct {
    const char* name;
    std::string content;
    const char* reason;
  } cases[] = {
      {"a.parquet", bytes("PAR1\x15\0\0PAR1", 11), "Parquet"},
      {"a.parquet.xz", xz(bytes("PAR1\x15\0\0PAR1", 11)), "is a Parquet file in a compressed file"},
      {"a.npy", bytes("\x93NUMPY\x01\0v\0{'descr'", 18), "is a NumPy array"},
      {"tokens.bin", bytes("\x93NUMPY\x01\0v\0{'descr'", 18), "is a NumPy array"},
      {"a.npz", "PK\x03\x04" + std::string(26, '\0') + "arr_0.npy", "is a NumPy archive"},
      {"a.zip", "PK\x03\x04" + std::string(26, '\0') + "a.txt", "is a zip archive"},
      {"a.tar", tar, "is a tar archive"},
      {"a.tar.xz", xz(tar), "is a tar archive"},
      {"a.tar.bz2", bz2(tar), "is a tar archive"},
      {"twice.xz", xz(bz2("text")), "is compressed twice"},
      {"a.pdf", "%PDF-1.7\nbinary", "is a PDF document"},
      {"a.db", bytes("SQLite format 3\0", 16), "is an SQLite database"},
      {"a.arrow", bytes("ARROW1\0\0", 8), "is an Arrow file"},
      {"a.feather", "FEA1aaaa", "is a Feather file"},
      {"a.pkl", bytes("\x80\x04\x95\x0b\0", 5), "is a Python pickle"},
      {"a.safetensors", bytes("\x10\0\0\0\0\0\0\0{\"a\":1}", 15), "is a safetensors file"},
      {"a.out",
       "\x7f"
       "ELF\x02\x01",
       "is a program (ELF)"},
      {"a.png", "\x89PNG\r\n\x1a\n", "is a PNG picture"},
      {"a.jpg", "\xff\xd8\xff\xe0", "is a JPEG picture"},
      {"a.7z", "7z\xbc\xaf\x27\x1c", "is a 7z archive"},
      {"a.rar", "Rar!\x1a\x07", "is a RAR archive"},
      {"a.lz4", "\x04\x22\x4d\x18", "is compressed by lz4"},
      {"u16.txt",
       bytes("\xff\xfe"
             "a\0b\0",
             6),
       "is UTF-16 text"},
      {"u16be.txt", bytes("\xfe\xff\0a\0b", 6), "is UTF-16 text"},
      {"u32.txt", bytes("\xff\xfe\0\0a\0\0\0", 8), "is UTF-32 text"},
      {"bare16.txt", bytes("s\0o\0m\0e\0 \0w\0o\0r\0d\0s\0", 20), "looks like UTF-16 text"},
      {"nul.txt", bytes("some words and a \0 mark", 23), "a NUL at byte 17"},
      {"latin.txt", latin, "3 characters in 25 bytes are not UTF-8, the first at byte 5"},
      {"latin.jsonl", "{\"text\": \"" + latin.substr(0, 23) + "\"}\n", "are not UTF-8"},
      {"latin.csv", "text\n" + latin, "are not UTF-8"},
      {"cut.xz", xz(std::string(100, 'a')).substr(0, 60), "xz data ends too early; the file is truncated"},
      {"cut.bz2", bz2(std::string(100, 'a')).substr(0, 30), "bzip2 data ends too early; the file is truncated"},
      {"bad.csv", "text,b\none,x\ntwo\n", "bad.csv:3: 1 cell, and the header has 2"},
      {"open.csv", "text,b\n\"one,x\ntwo,y\n", "open.csv:2: a quoted cell does not end"},
      {"twice.csv", "text,text\na,b\n", "twice.csv:1: a column is named twice"},
      {"other.csv", "body,b\none,x\n",
       "other.csv:2: no text field \"text\" (data.text_field): it is missing; there are: body, b"},
      {"cut.json", "[{\"text\": \"one\"},", "the JSON array does not end"},
      {"more.json", "[{\"text\": \"one\"}]\n{}", "more behind the end of the JSON array"},
      {"one.json", "{\n \"text\": \"pretty\"\n}\n", "one.json:1: not a JSON object: the line ends within it"},
      {"nan.jsonl", "{\"text\": \"a\", \"x\": NaN}\n", "nan.jsonl:1: not a JSON object: NaN at column"},
      {"big.jsonl", "{\"text\": \"a\", \"x\": 1e999}\n", "out of the range of 64-bit floats"},
      {"half.jsonl", "{\"text\": \"a \\ud800 b\"}\n", "a lone surrogate at column"},
      {"list.jsonl", "{\"text\": \"a\"}\n[1]\n", "list.jsonl:2: not a JSON object: it is an array"},
      {"null.jsonl", "{\"text\": null}\n", "null.jsonl:1: no text field \"text\" (data.text_field): it is null"},
  };
  for (const auto& c : cases) {
    const std::string error = text_of_file(c.name, c.content);
    EXPECT_THAT(error, HasSubstr(c.name));
    EXPECT_THAT(error, HasSubstr(c.reason));
  }
}

TEST_F(RecognitionTest, ATraceOfBrokenUtf8IsReplacedAndTold) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "some words ";
  text[100] = text[3000] = '\xFF';
  std::vector<std::string> notes;
  EXPECT_THAT(text_of(request(folder_.write("t.txt", text)), &notes), HasSubstr("s"));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("2 characters are no UTF-8, the first at byte 100")));
}

TEST(Globs, OrderAndRepeatsAreKeptAndTwoStarsAreAnyDepth) {
  TestFolder folder;
  for (const char* inner : {"/a", "/a/b", "/.hidden"}) std::filesystem::create_directory(folder.path() + inner);
  std::filesystem::create_directory_symlink(folder.path(), folder.path() + "/a/loop");
  for (const char* name : {"top.txt", "a/one.txt", "a/b/two.txt", ".hidden/no.txt", "x[1].txt", "x1.txt", "{c}.txt"})
    folder.write(name, "text");
  const auto names = [&](const std::vector<std::string>& globs) {
    std::vector<std::string> wanted;
    for (const std::string& glob : globs) wanted.push_back(folder.path() + "/" + glob);
    std::vector<std::string> found = *expand_globs(wanted, "data.train");
    for (std::string& name : found) name.erase(0, folder.path().size() + 1);
    return found;
  };
  EXPECT_THAT(names({"x1.txt", "a/one.txt", "x1.txt"}), ElementsAre("x1.txt", "a/one.txt", "x1.txt"));
  EXPECT_THAT(names({"**/*.txt"}), ElementsAre("a/b/two.txt", "a/one.txt", "top.txt", "x1.txt", "x[1].txt", "{c}.txt"));
  EXPECT_THAT(names({"a/**"}), ElementsAre("a/b/two.txt", "a/one.txt"));
  EXPECT_THAT(names({"x[1].txt"}), ElementsAre("x[1].txt"));
  EXPECT_THAT(names({"{c}.txt"}), ElementsAre("{c}.txt"));
  EXPECT_THAT(names({"{top,x?}.txt"}), ElementsAre("top.txt", "x1.txt"));
  EXPECT_FALSE(expand_globs({folder.path() + "/x[2-3].txt"}, "data.train").ok());
}

}  // namespace
}  // namespace galleon
