// Folders of an adapter for another model, as the package peft writes them.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace galleon {

// INVALID_ARGUMENT where `folder` is one, with what to name instead.
absl::Status refuse_adapter_folder(const std::string& folder);

}  // namespace galleon
