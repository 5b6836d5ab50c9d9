#include "worker/engine/checkpoint/adapters.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

bool belongs(const Parameter& p) {
  return p.of_adapter || p.adapter >= 0;
}

}  // namespace

std::vector<int> adapter_parameters(const std::vector<Parameter>& parameters) {
  std::vector<int> indices;
  for (const Parameter& p : parameters) {
    if (belongs(p)) indices.push_back(p.index);
  }
  return indices;
}

absl::Status load_adapters(const std::string& step_folder, const std::vector<Parameter>& parameters, Device& device) {
  const std::string path = absl::StrCat(step_folder, "/", kAdaptersFile);
  ASSIGN_OR_RETURN(SafetensorsReader file, SafetensorsReader::open(path));
  for (const Parameter& p : parameters) {
    if (!belongs(p)) continue;
    const auto entry = file.entries().find(p.name);
    if (entry == file.entries().end() || entry->second.shape != std::vector<int64_t>{p.out, p.in})
      return absl::DataLossError(absl::StrCat(path, " has no tensor ", p.name, " of ", p.out, "x", p.in));
    std::vector<float> values(p.out * p.in);
    RETURN_IF_ERROR(file.read(p.name, 0, p.out * p.in, values.data()));
    set_weight(p, device, values.data());
  }
  return absl::OkStatus();
}

}  // namespace galleon
