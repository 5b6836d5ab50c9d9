#include "worker/engine/data/sentencepiece_check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

// Beyond what any published model has: pieces of up to 128 bytes, a quarter of a million of them.
constexpr size_t kLongestPiece = 4096;
constexpr int64_t kMostPieces = int64_t{1} << 22;

enum WireType : int { kVarint = 0, kEightBytes = 1, kBytes = 2, kFourBytes = 5 };

struct Field {
  uint64_t number = 0;
  int type = kVarint;
  uint64_t value = 0;       // of a varint, or four bytes
  absl::string_view bytes;  // of kBytes
};

std::optional<uint64_t> take_varint(absl::string_view& from) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !from.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(from[0]);
    from.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
  return std::nullopt;
}

// False: what follows is no field.
bool take_field(absl::string_view& from, Field& field) {
  const std::optional<uint64_t> key = take_varint(from);
  if (!key) return false;
  field = {*key >> 3, static_cast<int>(*key & 7), 0, {}};
  if (field.type == kVarint) {
    const std::optional<uint64_t> value = take_varint(from);
    field.value = value.value_or(0);
    return value.has_value();
  }
  size_t size = field.type == kFourBytes ? 4 : 8;
  if (field.type == kBytes) {
    const std::optional<uint64_t> length = take_varint(from);
    if (!length || *length > from.size()) return false;
    size = *length;
  } else if (field.type != kFourBytes && field.type != kEightBytes) {
    return false;
  }
  if (size > from.size()) return false;
  field.bytes = from.substr(0, size);
  if (field.type == kFourBytes) {
    uint32_t bits = 0;
    std::memcpy(&bits, field.bytes.data(), sizeof(bits));
    field.value = bits;
  }
  from.remove_prefix(size);
  return true;
}

// A double array as the darts-clone library lays it out: 32-bit units; one whose highest bit is clear leads from
// position i to i ^ offset, and from there by a byte to one of 256 neighbours.
class DoubleArray {
 public:
  explicit DoubleArray(absl::string_view bytes) : bytes_(bytes), size_(bytes.size() / 4) {}
  size_t size() const { return size_; }
  uint32_t unit(size_t i) const {
    uint32_t unit = 0;
    std::memcpy(&unit, bytes_.data() + i * 4, sizeof(unit));
    return unit;
  }
  static bool leads_on(uint32_t unit) { return (unit >> 31) == 0; }
  static bool has_value(uint32_t unit) { return ((unit >> 8) & 1) != 0; }
  static size_t target(size_t i, uint32_t unit) { return i ^ ((unit >> 10) << ((unit & (1U << 9)) >> 6)); }

 private:
  absl::string_view bytes_;
  size_t size_;
};

// The size of a double array, the array, and texts that end with 0, which its values are the beginnings of.
absl::Status check_character_table(absl::string_view table) {
  constexpr absl::string_view kWrong = "its table of characters is damaged: ";
  if (table.empty()) return absl::OkStatus();
  uint32_t size = 0;
  if (table.size() <= sizeof(size)) return absl::InvalidArgumentError(absl::StrCat(kWrong, "it is cut"));
  std::memcpy(&size, table.data(), sizeof(size));
  table.remove_prefix(sizeof(size));
  if (size == 0 || size % 4 != 0 || size >= table.size())
    return absl::InvalidArgumentError(absl::StrCat(kWrong, "its size is not the file's"));
  const DoubleArray array(table.substr(0, size));
  const absl::string_view texts = table.substr(size);
  if (texts.back() != '\0') return absl::InvalidArgumentError(absl::StrCat(kWrong, "its last text does not end"));
  for (size_t i = 0; i < array.size(); ++i) {
    const uint32_t unit = array.unit(i);
    if (!DoubleArray::leads_on(unit)) continue;
    const size_t target = DoubleArray::target(i, unit);
    const bool inside = (target | 255) < array.size();
    const bool valued = DoubleArray::has_value(unit);
    if (!inside || (valued && (array.unit(target) & 0x7FFFFFFF) >= texts.size()))
      return absl::InvalidArgumentError(absl::StrCat(kWrong, "unit ", i, " leads out of it"));
  }
  return absl::OkStatus();
}

absl::Status check_normalizer(absl::string_view spec) {
  Field field;
  while (!spec.empty()) {
    if (!take_field(spec, field)) return absl::InvalidArgumentError("its normalizer is cut");
    if (field.number == 2 && field.type == kBytes) RETURN_IF_ERROR(check_character_table(field.bytes));
  }
  return absl::OkStatus();
}

absl::Status check_piece(absl::string_view piece, int64_t id) {
  Field field;
  while (!piece.empty()) {
    if (!take_field(piece, field)) return absl::InvalidArgumentError(absl::StrCat("piece ", id, " is cut"));
    if (field.number == 1 && field.bytes.size() > kLongestPiece) {
      return absl::InvalidArgumentError(
          absl::StrCat("piece ", id, " has ", field.bytes.size(), " bytes; up to ", kLongestPiece, " are accepted"));
    }
    float score = 0;
    const auto bits = static_cast<uint32_t>(field.value);
    std::memcpy(&score, &bits, sizeof(score));
    if (field.number == 2 && field.type == kFourBytes && !std::isfinite(score))
      return absl::InvalidArgumentError(absl::StrCat("the score of piece ", id, " is not finite"));
  }
  return absl::OkStatus();
}

absl::Status check_model(absl::string_view model) {
  constexpr int kPiece = 1;
  constexpr int kNormalizer = 3;
  constexpr int kDenormalizer = 5;
  Field field;
  int64_t pieces = 0;
  while (!model.empty()) {
    if (!take_field(model, field)) return absl::InvalidArgumentError("it is cut, or no such model");
    if (field.type != kBytes) continue;
    if (field.number == kPiece) RETURN_IF_ERROR(check_piece(field.bytes, pieces++));
    if (field.number == kNormalizer || field.number == kDenormalizer) RETURN_IF_ERROR(check_normalizer(field.bytes));
  }
  if (pieces == 0) return absl::InvalidArgumentError("it has no pieces");
  if (pieces <= kMostPieces) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("it has ", pieces, " pieces; up to ", kMostPieces, " are accepted"));
}

// The library's own words are for nobody: they name its sources.
[[noreturn]] void be_tried(const std::function<void()>& trial) {
  constexpr rlim_t kMostSeconds = 60;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit seconds{kMostSeconds, kMostSeconds};
  ::setrlimit(RLIMIT_CPU, &seconds);
  const rlimit nothing{0, 0};
  ::setrlimit(RLIMIT_CORE, &nothing);
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  for (const int fd : {1, 2}) ::dup2(null, fd);
  trial();
  ::_exit(0);
}

}  // namespace

absl::Status check_sentencepiece(absl::string_view model, const std::string& path) {
  const absl::Status sound = check_model(model);
  if (sound.ok()) return sound;
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer: ", path, " is not a sound SentencePiece model: ", sound.message()));
}

absl::Status try_apart(const std::function<void()>& trial, const std::string& path) {
  const pid_t child = ::fork();
  if (child < 0) return absl::ResourceExhaustedError(absl::StrCat("cannot try ", path, ": ", std::strerror(errno)));
  if (child == 0) be_tried(trial);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer: ", path, " is not a sound SentencePiece model: the library ",
                   WIFSIGNALED(status) ? absl::StrCat("is ended by signal ", WTERMSIG(status)) : "ends", " over it"));
}

}  // namespace galleon
