// NVML for tests, loaded as libnvidia-ml.so.1: the GPUs that the file FAKE_NVML describes, one a line, read at each
// question: "UUID total_MiB free_MiB celsius percent answer failed_rows Name of the card".
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Card {
  std::string uuid;
  unsigned long long total = 0;
  unsigned long long free = 0;
  unsigned celsius = 0;
  unsigned percent = 0;
  int answer = 0;
  unsigned failed_rows = 0;
  std::string name;
};

std::vector<Card> cards() {
  std::vector<Card> found;
  const char* path = std::getenv("FAKE_NVML");
  std::ifstream file(path != nullptr ? path : "");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Card card;
    words >> card.uuid >> card.total >> card.free >> card.celsius >> card.percent >> card.answer >> card.failed_rows;
    std::getline(words >> std::ws, card.name);
    found.push_back(card);
  }
  return found;
}

// A handle is the card's number plus one.
Card card(void* handle) {
  return cards().at(reinterpret_cast<size_t>(handle) - 1);
}

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): NVML's own
extern "C" {
int nvmlInit_v2() {
  return std::getenv("FAKE_NVML") != nullptr ? 0 : 9;
}
int nvmlShutdown() {
  return 0;
}
const char* nvmlErrorString(int answer) {
  return answer == 15 ? "GPU is lost" : answer == 9 ? "Driver Not Loaded" : "Unknown Error";
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = static_cast<unsigned>(cards().size());
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) {
  *handle = reinterpret_cast<void*>(static_cast<size_t>(index) + 1);  // NOLINT(performance-no-int-to-ptr)
  return 0;
}
int nvmlDeviceGetUUID(void* handle, char* text, unsigned length) {
  std::snprintf(text, length, "%s", card(handle).uuid.c_str());
  return 0;
}
int nvmlDeviceGetName(void* handle, char* text, unsigned length) {
  std::snprintf(text, length, "%s", card(handle).name.c_str());
  return 0;
}
int nvmlDeviceGetMemoryInfo(void* handle, unsigned long long* three) {
  const Card asked = card(handle);
  if (asked.answer != 0) return asked.answer;
  three[0] = asked.total << 20;
  three[1] = asked.free << 20;
  three[2] = (asked.total - asked.free) << 20;
  return 0;
}
int nvmlDeviceGetTemperature(void* handle, int, unsigned* celsius) {
  *celsius = card(handle).celsius;
  return 0;
}
int nvmlDeviceGetUtilizationRates(void* handle, unsigned* two) {
  two[0] = card(handle).percent;
  two[1] = 0;
  return 0;
}
int nvmlDeviceGetRemappedRows(void* handle, unsigned* corrected, unsigned* uncorrected, unsigned* pending,
                              unsigned* failed) {
  *corrected = *uncorrected = *pending = 0;
  *failed = card(handle).failed_rows;
  return 0;
}
// On for a card whose name says so.
int nvmlDeviceGetMigMode(void* handle, unsigned* current, unsigned* pending) {
  *current = *pending = card(handle).name.find("MIG") != std::string::npos ? 1 : 0;
  return 0;
}
}
// NOLINTEND(readability-identifier-naming)
