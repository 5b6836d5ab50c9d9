#include "kernels/cuda/launch_text.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"

namespace galleon::cuda {

namespace {

std::string size_text(dim3 size) {
  return absl::StrCat(size.x, "x", size.y, "x", size.z);
}

}  // namespace

std::string launch_text(const char* symbol, dim3 grid, dim3 block, size_t shared_bytes) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> readable(abi::__cxa_demangle(symbol, nullptr, nullptr, &status),
                                                             &std::free);
  return absl::StrCat("kernel ", status == 0 ? readable.get() : symbol, ", grid ", size_text(grid), ", block ",
                      size_text(block), ", ", shared_bytes, " bytes of dynamic shared memory");
}

}  // namespace galleon::cuda
