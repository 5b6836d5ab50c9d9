// Any bytes as the files of a tokenizer: they are refused, or text becomes tokens of the vocabulary, and they text. The
// first byte says which files: tokenizer.json; vocab.json and merges.txt, which a 0 divides; vocab.txt.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "worker/engine/data/tokenizers/hugging_face.h"

namespace {

// In memory, for the life of the process.
class Folder {
 public:
  Folder() {
    if (::mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/dev/shm/galleon-fuzz-XXXXXX";
};

const std::string& folder() {
  static const Folder made;
  return made.path();
}

void write(const char* name, const std::string& text) {
  std::ofstream(folder() + "/" + name, std::ios::binary) << text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"})
    ::unlink((folder() + "/" + name).c_str());
  if (data[0] % 4 == 1) {
    const size_t cut = text.find('\0');
    write("vocab.json", text.substr(0, cut));
    write("merges.txt", cut == std::string::npos ? "" : text.substr(cut + 1));
  } else {
    write(data[0] % 4 == 2 ? "vocab.txt" : "tokenizer.json", text);
  }
  const auto tokenizer = galleon::open_hugging_face_tokenizer(folder());
  if (!tokenizer.ok()) return 0;
  for (const std::string& sample :
       {text.substr(0, 256), std::string("A galleon's 3 na\xC3\xAFve  sails\t\xF0\x9F\x9A\xA2\n"),
        std::string("\xFF\xC3 \xED\xA0\x80 <s>\xE2\x96\x81")}) {
    std::vector<int32_t> ids;
    (*tokenizer)->encode(sample, ids);
    for (const int32_t id : ids) {
      if (id < 0 || id >= (*tokenizer)->vocabulary()) __builtin_trap();
    }
    (*tokenizer)->decode(ids);
  }
  (*tokenizer)->decode({-1, 0, 1, INT32_MAX});
  return 0;
}
