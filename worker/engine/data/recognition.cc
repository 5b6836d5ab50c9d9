#include "worker/engine/data/recognition.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "worker/engine/data/parquet_rows.h"
#include "worker/engine/data/unpacking.h"

namespace galleon {

namespace {

// What "auto" is for labelled rows.
const char kLabelledRows[] = "rows with labels";

constexpr size_t kHeadBytes = 1 << 16;
constexpr size_t kPackedHeadBytes = 16;
constexpr size_t kTarMagicAt = 257;
constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr absl::string_view kAdvice =
    "; text, JSON lines, CSV, TSV, Parquet and token files are read, all but Parquet also packed by gzip, zstd, "
    "bzip2 or xz";

struct Magic {
  absl::string_view bytes;
  absl::string_view kind;
};

template <size_t n>
constexpr absl::string_view bytes_of(const char (&text)[n]) {
  return {text, n - 1};
}

constexpr Magic kMagics[] = {
    {bytes_of("PAR1"), "is a Parquet file in a compressed file, which is not read"},
    {bytes_of("PARE"), "is an encrypted Parquet file"},
    {bytes_of("\x93NUMPY"), "is a NumPy array (.npy)"},
    {bytes_of("%PDF-"), "is a PDF document"},
    {bytes_of("SQLite format 3\0"), "is an SQLite database"},
    {bytes_of("ARROW1\0\0"), "is an Arrow file"},
    {bytes_of("FEA1"), "is a Feather file"},
    {bytes_of("\x7f"
              "ELF"),
     "is a program (ELF)"},
    {bytes_of("\x89PNG\r\n\x1a\n"), "is a PNG picture"},
    {bytes_of("\xff\xd8\xff"), "is a JPEG picture"},
    {bytes_of("GIF87a"), "is a GIF picture"},
    {bytes_of("GIF89a"), "is a GIF picture"},
    {bytes_of("7z\xbc\xaf\x27\x1c"), "is a 7z archive"},
    {bytes_of("Rar!\x1a\x07"), "is a RAR archive"},
    {bytes_of("\x04\x22\x4d\x18"), "is compressed by lz4, which is not read"},
    {bytes_of("\x02\x21\x4c\x18"), "is compressed by lz4, which is not read"},
    {bytes_of("\x1f\x9d"), "is compressed by compress (.Z), which is not read"},
    {bytes_of("LZIP\x01"), "is compressed by lzip, which is not read"},
    {bytes_of("\x5d\0\0"), "is compressed by lzma, which is not read"},
    {bytes_of("\xff\x06\0\0sNaPpY"), "is compressed by snappy, which is not read"},
    {bytes_of("\x89HDF\r\n\x1a\n"), "is an HDF5 file"},
    {bytes_of("GGUF"), "is a GGUF model"},
    {bytes_of("Obj\x01"), "is an Avro file"},
    {bytes_of("ORC\x0a"), "is an ORC file"},
    {bytes_of("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "is an old Office document"},
    {bytes_of("\xff\xfe\0\0"), "is UTF-32 text, and UTF-8 is read; iconv -f UTF-32 -t UTF-8 converts it"},
    {bytes_of("\0\0\xfe\xff"), "is UTF-32 text, and UTF-8 is read; iconv -f UTF-32 -t UTF-8 converts it"},
    {bytes_of("\xff\xfe"), "is UTF-16 text, and UTF-8 is read; iconv -f UTF-16 -t UTF-8 converts it"},
    {bytes_of("\xfe\xff"), "is UTF-16 text, and UTF-8 is read; iconv -f UTF-16 -t UTF-8 converts it"},
};

std::string zip_kind(absl::string_view head) {
  const absl::string_view name = head.size() > 30 ? head.substr(30, 64) : absl::string_view();
  if (absl::StrContains(name.substr(0, 48), ".npy")) return "is a NumPy archive (.npz)";
  if (absl::StrContains(name, "data.pkl")) return "is a PyTorch file";
  if (absl::StartsWith(name, "[Content_Types].xml")) return "is an Office document";
  return "is a zip archive";
}

bool is_safetensors(absl::string_view head) {
  uint64_t header = 0;
  if (head.size() < 10) return false;
  std::memcpy(&header, head.data(), 8);
  return header >= 2 && header < (uint64_t{1} << 32) && head[8] == '{';
}

// Most of the NULs of UTF-16 or UTF-32 text without a mark stand at every second place or more often.
std::string wide_text_kind(absl::string_view head) {
  size_t odd = 0;
  size_t even = 0;
  for (size_t i = 0; i < head.size(); ++i) (i % 2 == 0 ? even : odd) += head[i] == '\0' ? 1 : 0;
  const size_t half = head.size() / 2;
  if (half < 4 || (odd < half / 2 && even < half / 2)) return "";
  const bool both = odd >= half / 3 && even >= half / 3;
  return absl::StrCat("looks like ", both ? "UTF-32" : "UTF-16", " text, and UTF-8 is read; iconv converts it");
}

absl::StatusOr<std::string> read_head(InputStream& stream) {
  std::string head(kHeadBytes, '\0');
  size_t known = 0;
  while (known < head.size()) {
    ASSIGN_OR_RETURN(size_t n, stream.read(head.data() + known, head.size() - known));
    if (n == 0) break;
    known += n;
  }
  head.resize(known);
  return head;
}

absl::string_view without_blanks(absl::string_view text) {
  absl::ConsumePrefix(&text, kByteOrderMark);
  return absl::StripLeadingAsciiWhitespace(text);
}

// Whether the first line is an object. Of one that is longer than what was read, the beginning has to do.
bool begins_with_object(absl::string_view head) {
  const absl::string_view text = without_blanks(head);
  if (!absl::StartsWith(text, "{")) return false;
  const size_t end = text.find('\n');
  if (end == absl::string_view::npos && head.size() >= kHeadBytes)
    return absl::StartsWith(absl::StripLeadingAsciiWhitespace(text.substr(1)), "\"");
  const absl::string_view line = text.substr(0, end);
  const nlohmann::json json = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
  return json.is_object();
}

bool begins_with_array(absl::string_view head) {
  return absl::StartsWith(without_blanks(head), "[");
}

bool begins_with_array_of_objects(absl::string_view head) {
  absl::string_view text = without_blanks(head);
  for (const absl::string_view mark : {"[", "{", "\""}) {
    if (!absl::ConsumePrefix(&text, mark)) return false;
    text = absl::StripLeadingAsciiWhitespace(text);
  }
  return true;
}

// Whether a string and what stands behind one in an array come first in it.
bool begins_with_array_of_strings(absl::string_view head) {
  absl::string_view text = without_blanks(head);
  if (!absl::ConsumePrefix(&text, "[")) return false;
  text = absl::StripLeadingAsciiWhitespace(text);
  if (!absl::ConsumePrefix(&text, "\"")) return false;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      text = absl::StripLeadingAsciiWhitespace(text.substr(at + 1));
      return absl::StartsWith(text, ",") || absl::StartsWith(text, "]");
    }
  }
  return false;
}

// The name in lower case without the endings of compressors.
std::string bare_name(const std::string& path) {
  const std::string lower = absl::AsciiStrToLower(path);
  absl::string_view name = lower;
  for (absl::string_view packed : {".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz"})
    if (absl::ConsumeSuffix(&name, packed)) break;
  return std::string(name);
}

bool ends_with_any(absl::string_view name, std::initializer_list<absl::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](absl::string_view end) { return absl::EndsWith(name, end); });
}

InputFormat table_or(absl::string_view name, InputFormat otherwise) {
  if (absl::EndsWith(name, ".csv")) return InputFormat::kCsv;
  if (absl::EndsWith(name, ".tsv")) return InputFormat::kTabRows;
  return otherwise;
}

InputFormat chosen(const std::string& data_format, absl::string_view name, absl::string_view head) {
  if (data_format == "text") return InputFormat::kText;
  if (data_format == "tokens") return InputFormat::kTokens;
  if (data_format == "tsv") return InputFormat::kTsv;
  if (data_format == "csv") return InputFormat::kCsv;
  if (data_format == kLabelledRows) {
    if (absl::EndsWith(name, ".csv")) return InputFormat::kCsv;
    if (begins_with_array_of_objects(head)) return InputFormat::kJsonArray;
    const bool lines = begins_with_object(head) || ends_with_any(name, {".jsonl", ".json", ".ndjson", ".jsonlines"});
    return lines ? InputFormat::kJsonLines : InputFormat::kTsv;
  }
  if (data_format == "jsonl") return begins_with_array(head) ? InputFormat::kJsonArray : InputFormat::kJsonLines;
  if (data_format == "chat") {
    if (begins_with_array(head)) return InputFormat::kJsonArray;
    return begins_with_object(head) ? InputFormat::kChat : table_or(name, InputFormat::kChat);
  }
  if (ends_with_any(name, {".tokens", ".bin"})) return InputFormat::kTokens;
  const bool json = ends_with_any(name, {".jsonl", ".json", ".ndjson", ".jsonlines"});
  if (json && begins_with_array(head)) return InputFormat::kJsonArray;
  if (json || begins_with_object(head)) return InputFormat::kJsonLines;
  if (begins_with_array_of_objects(head)) return InputFormat::kJsonArray;
  return table_or(name, InputFormat::kText);
}

absl::StatusOr<InputFormat> recognised_parquet(const std::string& data_format, const std::string& path) {
  for (const char* rows : {"auto", "jsonl", "chat", kLabelledRows})
    if (data_format == rows) return InputFormat::kParquet;
  return absl::InvalidArgumentError(absl::StrCat(path,
                                                 " is a Parquet file, whose rows are read with data.format: jsonl, ",
                                                 "chat or auto, and this is ", data_format));
}

}  // namespace

std::string foreign_kind(absl::string_view head, bool unpacked) {
  for (const Magic& magic : kMagics)
    if (absl::StartsWith(head, magic.bytes)) return std::string(magic.kind);
  if (absl::StartsWith(head, "PK\x03\x04") || absl::StartsWith(head, "PK\x05\x06")) return zip_kind(head);
  if (head.size() > kTarMagicAt + 5 && head.substr(kTarMagicAt, 5) == "ustar") return "is a tar archive";
  if (unpacked && packing_of(head) != Packing::kNone) return "is compressed twice";
  if (head.size() > 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) return "is a Python pickle";
  if (is_safetensors(head)) return "is a safetensors file";
  return "";
}

BrokenText find_broken_utf8(absl::string_view text) {
  BrokenText broken;
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight = 0;
    if (at + 8 <= text.size()) {
      std::memcpy(&eight, text.data() + at, 8);
      if ((eight & 0x8080808080808080ULL) == 0) {
        at += 8;
        continue;
      }
    }
    size_t skip = 1;
    const size_t size = utf8_length(text.substr(at), &skip);
    if (size == 0 && broken.count++ == 0) broken.first = static_cast<int64_t>(at);
    at += size == 0 ? skip : size;
  }
  return broken;
}

absl::StatusOr<InputFormat> recognise_rows(const std::string& data_format, const std::string& path) {
  return recognise(data_format == "auto" ? kLabelledRows : data_format, path);
}

absl::StatusOr<InputFormat> recognise(const std::string& data_format, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string first, first_bytes(path, kPackedHeadBytes));
  if (is_parquet(first)) return recognised_parquet(data_format, path);
  ASSIGN_OR_RETURN(std::unique_ptr<InputStream> stream, open_input(path));
  ASSIGN_OR_RETURN(std::string head, read_head(*stream));
  const InputFormat format = chosen(data_format, bare_name(path), head);
  std::string kind = foreign_kind(head, packing_of(first) != Packing::kNone);
  const bool tokens = format == InputFormat::kTokens;
  // Ids may look like a short magic number.
  if (tokens && !absl::StartsWith(head, "\x93NUMPY") && !absl::StartsWith(head, "PK\x03\x04")) kind.clear();
  if (kind.empty() && !tokens && absl::StrContains(head, '\0'))
    kind = wide_text_kind(absl::string_view(head).substr(0, 512));
  const bool rows = data_format == "auto" || data_format == kLabelledRows || format == InputFormat::kJsonArray;
  if (kind.empty() && rows && !tokens && begins_with_array_of_strings(head)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is a JSON array of strings; rows are objects, as in [{\"text\": \"…\"}]"));
  }
  if (!kind.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " ", kind, kAdvice));
  return format;
}

}  // namespace galleon
