// NVML (nvml.h of NVIDIA's driver API, version 12 of its reference): the few entry points that a worker needs, with
// their types as the reference gives them.
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "worker/daemon/gpus.h"

namespace galleon {

namespace {

using Handle = void*;  // nvmlDevice_t
constexpr int kSuccess = 0;
constexpr int kNotSupported = 3;
constexpr int kGpuIsLost = 15;
constexpr unsigned kUuidLength = 96;
constexpr unsigned kNameLength = 96;
constexpr int kTemperatureOfGpu = 0;

struct Memory {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};
struct Utilisation {
  unsigned gpu;  // percent
  unsigned memory;
};

// A loaded library; closed with the last of its users.
class Library {
 public:
  static absl::StatusOr<std::unique_ptr<Library>> load() {
    auto library = std::make_unique<Library>();
    library->handle_ = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library->handle_ == nullptr) {
      return absl::UnavailableError(
          absl::StrCat("no NVIDIA driver is installed here (", ::dlerror(), "); offer CPUs with --device cpu"));
    }
    const bool complete =
        library->find("nvmlInit_v2", library->init) && library->find("nvmlShutdown", library->shutdown) &&
        library->find("nvmlErrorString", library->error_string) &&
        library->find("nvmlDeviceGetCount_v2", library->count) &&
        library->find("nvmlDeviceGetHandleByIndex_v2", library->by_index) &&
        library->find("nvmlDeviceGetUUID", library->uuid) && library->find("nvmlDeviceGetName", library->name) &&
        library->find("nvmlDeviceGetMemoryInfo", library->memory);
    if (!complete) return absl::UnavailableError("the installed NVIDIA driver is too old for its GPUs to be listed");
    library->find("nvmlDeviceGetTemperature", library->temperature);
    library->find("nvmlDeviceGetUtilizationRates", library->utilisation);
    library->find("nvmlDeviceGetRemappedRows", library->remapped_rows);
    library->find("nvmlDeviceGetMigMode", library->mig_mode);
    if (const int begun = library->init(); begun != kSuccess) {
      return absl::UnavailableError(
          absl::StrCat("nvmlInit_v2: ", library->error_string(begun), "; offer CPUs with --device cpu"));
    }
    library->begun_ = true;
    return library;
  }
  Library() = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (begun_) shutdown();
    if (handle_ != nullptr) ::dlclose(handle_);
  }

  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*by_index)(unsigned, Handle*) = nullptr;
  int (*uuid)(Handle, char*, unsigned) = nullptr;
  int (*name)(Handle, char*, unsigned) = nullptr;
  int (*memory)(Handle, Memory*) = nullptr;
  // These may be missing.
  int (*temperature)(Handle, int, unsigned*) = nullptr;
  int (*utilisation)(Handle, Utilisation*) = nullptr;
  int (*remapped_rows)(Handle, unsigned* corrected, unsigned* uncorrected, unsigned* pending,
                       unsigned* failed) = nullptr;
  int (*mig_mode)(Handle, unsigned* current, unsigned* pending) = nullptr;

 private:
  template <typename Function>
  bool find(const char* symbol, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(handle_, symbol));
    return function != nullptr;
  }

  void* handle_ = nullptr;
  bool begun_ = false;
};

class Nvml final : public Gpus {
 public:
  Nvml(std::unique_ptr<Library> library, std::vector<Handle> handles)
      : library_(std::move(library)), handles_(std::move(handles)), known_(handles_.size()) {}

  std::vector<GpuState> look() override {
    for (size_t i = 0; i < handles_.size(); ++i) look_at(handles_[i], known_[i]);
    return known_;
  }

 private:
  // What a lost card does not answer any more stays as it was last seen.
  void look_at(Handle gpu, GpuState& state) {
    state.fault.clear();
    if (state.uuid.empty()) {
      char text[kUuidLength] = "";
      note(library_->uuid(gpu, text, kUuidLength), "nvmlDeviceGetUUID", state);
      state.uuid = text;
      char name[kNameLength] = "";
      note(library_->name(gpu, name, kNameLength), "nvmlDeviceGetName", state);
      state.name = name;
    }
    Memory memory{};
    const int asked = library_->memory(gpu, &memory);
    note(asked, "nvmlDeviceGetMemoryInfo", state);
    if (asked == kSuccess) {
      state.memory_bytes = memory.total;
      state.free_bytes = memory.free;
    }
    unsigned celsius = 0;
    const bool warm =
        library_->temperature != nullptr && library_->temperature(gpu, kTemperatureOfGpu, &celsius) == kSuccess;
    state.temperature_celsius = warm ? celsius : -1;
    Utilisation busy{};
    const bool told = library_->utilisation != nullptr && library_->utilisation(gpu, &busy) == kSuccess;
    state.utilisation = told ? busy.gpu / 100.0 : -1;
    unsigned mig = 0;
    unsigned mig_pending = 0;
    if (state.fault.empty() && library_->mig_mode != nullptr &&
        library_->mig_mode(gpu, &mig, &mig_pending) == kSuccess && mig != 0) {
      state.fault =
          "it is in MIG mode, and a slot is a whole GPU; turn MIG off with nvidia-smi -mig 0, or leave the card out of "
          "CUDA_VISIBLE_DEVICES";
    }
    unsigned corrected = 0;
    unsigned uncorrected = 0;
    unsigned pending = 0;
    unsigned failed = 0;
    if (library_->remapped_rows != nullptr &&
        library_->remapped_rows(gpu, &corrected, &uncorrected, &pending, &failed) == kSuccess) {
      if (failed != 0) state.fault = "rows of its memory are broken and cannot be replaced; replace the card";
      if (failed == 0 && pending != 0)
        state.fault = "a broken row of its memory is replaced at the next reset; reset it";
    }
  }

  void note(int answer, const char* call, GpuState& state) const {
    if (answer == kSuccess || answer == kNotSupported || !state.fault.empty()) return;
    state.fault = absl::StrCat(call, ": ", library_->error_string(answer),
                               answer == kGpuIsLost ? "; the card has fallen off the bus, look at dmesg" : "");
  }

  std::unique_ptr<Library> library_;
  std::vector<Handle> handles_;
  std::vector<GpuState> known_;
};

// The places, in the order of the bus, of the GPUs that CUDA_VISIBLE_DEVICES lets a process use. As CUDA has it, the
// first word that names none ends the list. INVALID_ARGUMENT: instances of a GPU, or numbers whose meaning NVML cannot
// tell: they count in CUDA's order, which is the bus's only with CUDA_DEVICE_ORDER=PCI_BUS_ID or where all cards are
// alike.
absl::StatusOr<std::set<size_t>> visible_places(absl::string_view list, absl::string_view order,
                                                const std::vector<std::string>& uuids,
                                                const std::vector<std::string>& names) {
  const bool alike =
      std::all_of(names.begin(), names.end(), [&](const std::string& name) { return name == names.front(); });
  std::set<size_t> places;
  for (const absl::string_view word : absl::StrSplit(list, ',')) {
    size_t place = uuids.size();
    int number = -1;
    if (absl::StartsWith(word, "MIG-")) {
      return absl::InvalidArgumentError(
          absl::StrCat("CUDA_VISIBLE_DEVICES names an instance of a GPU, \"", word,
                       "\", and a slot is a whole GPU; turn MIG off with nvidia-smi -mig 0"));
    }
    if (absl::SimpleAtoi(word, &number)) {
      if (order != "PCI_BUS_ID" && !alike) {
        return absl::InvalidArgumentError(
            "CUDA_VISIBLE_DEVICES names GPUs by numbers in CUDA's own order, and the cards of this machine differ; set "
            "CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the cards by UUID (nvidia-smi -L)");
      }
      if (number >= 0) place = std::min(static_cast<size_t>(number), uuids.size());
    } else if (!word.empty()) {
      const auto found = std::find_if(uuids.begin(), uuids.end(),
                                      [&](const std::string& uuid) { return absl::StartsWith(uuid, word); });
      place = static_cast<size_t>(found - uuids.begin());
    }
    if (place >= uuids.size()) break;
    places.insert(place);
  }
  return places;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Gpus>> open_nvml() {
  ASSIGN_OR_RETURN(std::unique_ptr<Library> library, Library::load());
  unsigned count = 0;
  if (const int answer = library->count(&count); answer != kSuccess) {
    return absl::UnavailableError(absl::StrCat("nvmlDeviceGetCount_v2: ", library->error_string(answer)));
  }
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const char* order = std::getenv("CUDA_DEVICE_ORDER");
  std::vector<Handle> all(count);
  std::vector<std::string> uuids(count);
  std::vector<std::string> names(count);
  for (unsigned i = 0; i < count; ++i) {
    if (library->by_index(i, &all[i]) != kSuccess) {
      all[i] = nullptr;
      continue;
    }
    char uuid[kUuidLength] = "";
    (void)library->uuid(all[i], uuid, kUuidLength);
    uuids[i] = uuid;
    char name[kNameLength] = "";
    (void)library->name(all[i], name, kNameLength);
    names[i] = name;
  }
  std::set<size_t> places;
  for (size_t i = 0; visible == nullptr && i < count; ++i) places.insert(i);
  if (visible != nullptr) {
    ASSIGN_OR_RETURN(places, visible_places(visible, order != nullptr ? order : "", uuids, names));
  }
  std::vector<Handle> handles;
  for (const size_t place : places) {
    if (all[place] != nullptr) handles.push_back(all[place]);
  }
  if (handles.empty()) {
    return absl::UnavailableError(absl::StrCat("the NVIDIA driver shows ", count, " GPUs and none may be used here",
                                               visible != nullptr ? " (CUDA_VISIBLE_DEVICES)" : "",
                                               "; offer CPUs with --device cpu"));
  }
  return std::make_unique<Nvml>(std::move(library), std::move(handles));
}

}  // namespace galleon
