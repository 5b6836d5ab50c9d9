// Drives a fuzz target without libFuzzer: every seed as it is, then seeds with seeded changes.
//   replay COUNT SEED FILE-OR-FOLDER...      COUNT changed inputs
// An input that takes ten seconds of the processor's time is a finding too: it is left as `slow-input`.
#include <fcntl.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

namespace fs = std::filesystem;

std::vector<std::string> read_seeds(int count, char** paths) {
  std::vector<fs::path> files;
  for (int i = 0; i < count; ++i) {
    if (fs::is_directory(paths[i])) {
      for (const auto& entry : fs::directory_iterator(paths[i])) files.push_back(entry.path());
    } else {
      files.emplace_back(paths[i]);
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> seeds;
  for (const fs::path& file : files) {
    std::ifstream stream(file, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return seeds;
}

// A few changes: bits, bytes that mean something, pieces that are cut out, doubled, or come from another seed.
std::string changed(const std::vector<std::string>& seeds, std::mt19937_64& random) {
  static const char* const kWords[] = {"{",
                                       "}",
                                       "[",
                                       "]",
                                       "\"",
                                       ":",
                                       ",",
                                       "-1",
                                       "0",
                                       "1e999",
                                       "null",
                                       "true",
                                       "\n",
                                       "\t",
                                       " ",
                                       "- ",
                                       "&a",
                                       "*a",
                                       "18446744073709551615",
                                       "\xFF",
                                       "\xC3",
                                       "\\u0000"};
  const auto below = [&](size_t n) { return n == 0 ? 0 : static_cast<size_t>(random() % n); };
  std::string text = seeds[below(seeds.size())];
  for (size_t left = 1 + below(6); left > 0; --left) {
    const size_t at = below(text.size() + 1);
    switch (random() % 6) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
        break;
      case 1:
        if (at < text.size()) text[at] = static_cast<char>(random());
        break;
      case 2:
        text.insert(at, kWords[below(std::size(kWords))]);
        break;
      case 3:
        text.erase(at, 1 + below(16));
        break;
      case 4:
        text.insert(at, text.substr(below(text.size()), 1 + below(64)));
        break;
      default: {
        const std::string& other = seeds[below(seeds.size())];
        text.replace(at, below(32), other.substr(below(other.size()), 1 + below(64)));
      }
    }
  }
  return text;
}

constexpr int kMostSeconds = 10;
const std::string* current = nullptr;

// Calls nothing that may not be called from a handler.
void tell_slow(int) {
  static constexpr char kSaid[] = "an input takes too long; it is in slow-input\n";
  const int file = ::open("slow-input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0 || ::write(file, current->data(), current->size()) < 0 || ::write(2, kSaid, sizeof(kSaid) - 1) < 0)
    std::_Exit(3);
  std::_Exit(1);
}

void run(const std::string& input) {
  current = &input;
  const itimerval limit{{0, 0}, {kMostSeconds, 0}};
  ::setitimer(ITIMER_PROF, &limit, nullptr);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "replay COUNT SEED FILE-OR-FOLDER...\n");
    return 2;
  }
  const std::vector<std::string> seeds = read_seeds(argc - 3, argv + 3);
  if (seeds.empty()) {
    std::fprintf(stderr, "there are no seeds\n");
    return 2;
  }
  std::signal(SIGPROF, tell_slow);
  for (const std::string& seed : seeds) run(seed);
  std::mt19937_64 random(std::strtoull(argv[2], nullptr, 10));
  const int64_t count = std::strtoll(argv[1], nullptr, 10);
  for (int64_t i = 0; i < count; ++i) run(changed(seeds, random));
  std::printf("%zu seeds, %lld changed inputs\n", seeds.size(), static_cast<long long>(count));
  return 0;
}
