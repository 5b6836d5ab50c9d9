// One thread's speed of a tokenizer on documents: bench_tokenizers TOKENIZER DOCUMENTS.jsonl SECONDS. Prints one line of
// JSON; `ids` is a hash of the ids of one pass, for comparisons with other programs.
#include <time.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/time/clock.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {
namespace {

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int run(const std::string& source, const std::string& path, double seconds) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(source);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status().message() << "\n";
    return 2;
  }
  std::vector<std::string> documents;
  int64_t bytes = 0;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    documents.push_back(nlohmann::json::parse(line)["text"].get<std::string>());
    bytes += static_cast<int64_t>(documents.back().size());
  }
  if (documents.empty()) {
    std::cerr << path << " holds no documents\n";
    return 2;
  }
  uint64_t hash = 0xCBF29CE484222325ULL;
  int64_t tokens = 0;
  std::vector<int32_t> ids;
  // The first pass warms up and is hashed, the others are timed.
  for (const std::string& document : documents) {
    ids.clear();
    (*tokenizer)->encode(document, ids);
    tokens += static_cast<int64_t>(ids.size());
    for (const int32_t id : ids) hash = (hash ^ static_cast<uint32_t>(id)) * 0x100000001B3ULL;
  }
  const double begin = processor_seconds();
  const absl::Time start = absl::Now();
  int64_t passes = 0;
  while (passes == 0 || processor_seconds() - begin < seconds) {
    for (const std::string& document : documents) {
      ids.clear();
      (*tokenizer)->encode(document, ids);
    }
    ++passes;
  }
  std::cout << nlohmann::ordered_json{{"bytes", bytes * passes},
                                      {"tokens", tokens * passes},
                                      {"processor_seconds", processor_seconds() - begin},
                                      {"seconds", absl::ToDoubleSeconds(absl::Now() - start)},
                                      {"ids", hash}}
                   .dump()
            << "\n";
  return 0;
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: bench_tokenizers TOKENIZER DOCUMENTS.jsonl SECONDS\n";
    return 2;
  }
  return galleon::run(argv[1], argv[2], std::atof(argv[3]));
}
