#include "kernels/cpu/processor.h"

#include <cblas.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <dnnl.hpp>
#include <exception>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/log.h"
#include "common/base/processor_name.h"
#include "kernels/cpu/cpu_operations.h"

namespace galleon::cpu {
namespace {

std::string architecture() {
  utsname names{};
  return uname(&names) == 0 ? names.machine : "unknown";
}

// "OpenBLAS 0.3.21 …": the second word.
std::string openblas_version() {
  const std::vector<std::string> words = absl::StrSplit(openblas_get_config(), ' ');
  return words.size() > 1 ? words[1] : "";
}

VectorLevel level_of_openblas_core(absl::string_view core) {
  if (absl::EqualsIgnoreCase(core, "SapphireRapids") || absl::EqualsIgnoreCase(core, "Cooperlake"))
    return VectorLevel::kAvx512Bf16;
  if (absl::EqualsIgnoreCase(core, "SkylakeX")) return VectorLevel::kAvx512;
  if (absl::EqualsIgnoreCase(core, "Haswell") || absl::EqualsIgnoreCase(core, "Zen") ||
      absl::EqualsIgnoreCase(core, "Excavator"))
    return VectorLevel::kAvx2;
  return VectorLevel::kBaseline;
}

LibraryFacts openblas(VectorLevel processor) {
  LibraryFacts facts{"OpenBLAS", openblas_version(), openblas_get_corename()};
  facts.level = level_of_openblas_core(facts.kernels);
  // What LAPACK needs of it is fp32 and double alone.
  facts.expected = std::min(processor, VectorLevel::kAvx512);
  return facts;
}

#if defined(__x86_64__)
LibraryFacts onednn(VectorLevel processor) {
  const dnnl_version_t* version = dnnl_version();
  LibraryFacts facts{"oneDNN", absl::StrCat(version->major, ".", version->minor, ".", version->patch)};
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx512_core_amx:
      facts.kernels = "avx512_core_amx";
      facts.level = VectorLevel::kAmxBf16;
      break;
    case dnnl::cpu_isa::avx512_core_bf16:
      facts.kernels = "avx512_core_bf16";
      facts.level = VectorLevel::kAvx512Bf16;
      break;
    case dnnl::cpu_isa::avx512_core_vnni:
    case dnnl::cpu_isa::avx512_core:
      facts.kernels = "avx512_core";
      facts.level = VectorLevel::kAvx512;
      break;
    case dnnl::cpu_isa::avx2_vnni:
    case dnnl::cpu_isa::avx2:
      facts.kernels = "avx2";
      facts.level = VectorLevel::kAvx2;
      break;
    default:
      facts.kernels = "sse41";
  }
  facts.expected = processor;
  return facts;
}
#else
LibraryFacts onednn(VectorLevel) {
  const dnnl_version_t* version = dnnl_version();
  return {"oneDNN", absl::StrCat(version->major, ".", version->minor, ".", version->patch), architecture()};
}
#endif

// Whether it was set now.
bool set_if_empty(const char* variable, const std::string& value) {
  const char* now = std::getenv(variable);
  if ((now != nullptr && *now != '\0') || value.empty()) return false;
  return ::setenv(variable, value.c_str(), 1) == 0;
}

}  // namespace

std::string level_name(VectorLevel level) {
  switch (level) {
    case VectorLevel::kAmxBf16:
      return "AVX-512 with AMX";
    case VectorLevel::kAvx512Bf16:
      return "AVX-512 with bf16";
    case VectorLevel::kAvx512:
      return "AVX-512";
    case VectorLevel::kAvx2:
      return "AVX2";
    case VectorLevel::kBaseline:
      break;
  }
  return "the architecture's baseline";
}

#if defined(__x86_64__)
namespace {

// Whether the processor multiplies tiles of bf16, and the system keeps the tiles of each thread.
bool has_amx_bf16() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kAmxBf16Bit = 1U << 22;
  constexpr unsigned kAmxTileBit = 1U << 24;
  if ((d & kAmxBf16Bit) == 0 || (d & kAmxTileBit) == 0) return false;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return false;
  unsigned low = 0;
  unsigned high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned kTileState = 3U << 17;  // configuration and data
  return (low & kTileState) == kTileState;
}

}  // namespace
#endif

VectorLevel vector_level() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return VectorLevel::kBaseline;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return VectorLevel::kAvx2;
  if (!__builtin_cpu_supports("avx512bf16")) return VectorLevel::kAvx512;
  return has_amx_bf16() ? VectorLevel::kAmxBf16 : VectorLevel::kAvx512Bf16;
#else
  return VectorLevel::kBaseline;
#endif
}

std::string fitting_openblas_core(VectorLevel level) {
  switch (level) {
    case VectorLevel::kAmxBf16:
    case VectorLevel::kAvx512Bf16:
      return "Cooperlake";
    case VectorLevel::kAvx512:
      return "SkylakeX";
    case VectorLevel::kAvx2:
      return "Haswell";
    case VectorLevel::kBaseline:
      break;
  }
  return "";
}

namespace {

// Whether a variable was missing.
bool complete_environment() {
  // Idle threads of the pool must not spin: other ranks share the cores.
  bool changed = set_if_empty("OMP_WAIT_POLICY", "PASSIVE");
  const VectorLevel level = vector_level();
  const LibraryFacts blas = openblas(level);
  if (blas.level < blas.expected) changed |= set_if_empty("OPENBLAS_CORETYPE", fitting_openblas_core(level));
  return changed;
}

}  // namespace

void start_again_for_libraries(char** argv) {
  try {
    if (!complete_environment()) return;
    // By its own path, which gives the process its name.
    std::array<char, 4096> self{};
    if (::readlink("/proc/self/exe", self.data(), self.size() - 1) > 0) ::execv(self.data(), argv);
  } catch (const std::exception& error) {
    log_warning("computes with the libraries as they are: ", error.what());
  }
}

ProcessorFacts processor_facts() {
  ProcessorFacts facts;
  facts.model = processor_name();
  facts.architecture = architecture();
  facts.instruction_set = std::string(cpu_instruction_sets().back());
  facts.level = vector_level();
  facts.libraries = {onednn(facts.level), openblas(facts.level)};
  return facts;
}

std::string ProcessorFacts::line() const {
  std::string text = absl::StrCat(model, ", ", level_name(level), "; loops ", instruction_set);
  for (const LibraryFacts& library : libraries)
    absl::StrAppend(&text, "; ", library.name, " ", library.version, " ", library.kernels,
                    library.level < library.expected ? " (too little)" : "");
  return text;
}

std::vector<std::string> ProcessorFacts::warnings() const {
  std::vector<std::string> all;
  for (const LibraryFacts& library : libraries) {
    if (library.level >= library.expected) continue;
    std::string text =
        absl::StrCat(library.name, " has chosen its kernels for ", library.kernels, " (", level_name(library.level),
                     ") on a processor with ", level_name(level), " and will be slow");
    if (library.name == "OpenBLAS") {
      absl::StrAppend(&text, "; OPENBLAS_CORETYPE=", fitting_openblas_core(level), " chooses right");
    } else {
      absl::StrAppend(&text, "; look for ONEDNN_MAX_CPU_ISA or DNNL_MAX_CPU_ISA in the environment");
    }
    all.push_back(std::move(text));
  }
  return all;
}

}  // namespace galleon::cpu
