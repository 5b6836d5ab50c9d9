// Any bytes as a token cache, its three files one after the other behind two sizes of a byte each (times 16): what is
// read of it are sequences that a model takes, or an error.
#include <algorithm>
#include <memory>

#include "tests/fuzz/fuzz_folder.h"
#include "worker/engine/data/sequence_store.h"
#include "worker/engine/data/token_cache.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kLength = 8;
  constexpr int64_t kVocabulary = 300;
  constexpr int64_t kFiles = 2;
  if (size < 2) return 0;
  static const galleon::FuzzFolder folder;
  std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  for (const auto& [name, wanted] : {std::pair("c.tokens", data[0] * 16), std::pair("c.sequences", data[1] * 16)}) {
    const size_t part = std::min<size_t>(rest.size(), wanted);
    folder.write(name, rest.substr(0, part));
    rest.remove_prefix(part);
  }
  folder.write("c.json", rest);
  const absl::StatusOr<std::unique_ptr<galleon::SequenceStore>> store =
      galleon::open_token_cache(folder.path() + "/c", {kLength, kVocabulary, kFiles}, nullptr);
  if (!store.ok()) return 0;
  const absl::StatusOr<galleon::StoreProgress> progress = (*store)->wait_for(1, absl::ZeroDuration());
  if (!progress.ok()) return 0;
  if (progress->sequences < 0) __builtin_trap();
  galleon::Sequence sequence;
  for (int64_t i = 0; i < std::min<int64_t>(progress->sequences, 20); ++i) {
    (void)(*store)->targets(i);
    const absl::StatusOr<int64_t> inputs = (*store)->inputs(i);
    if (inputs.ok() && (*inputs < 1 || *inputs > kLength)) __builtin_trap();
    if (!(*store)->read(i, sequence).ok()) continue;
    if (sequence.ids.empty() || sequence.ids.size() > kLength) __builtin_trap();
    if (!sequence.targets.empty() && sequence.targets.size() != sequence.ids.size()) __builtin_trap();
    for (const int32_t id : sequence.ids)
      if (id < 0 || id >= kVocabulary) __builtin_trap();
    for (const int32_t id : sequence.targets)
      if (id < -1 || id >= kVocabulary) __builtin_trap();
    if (sequence.file >= kFiles) __builtin_trap();
  }
  return 0;
}
