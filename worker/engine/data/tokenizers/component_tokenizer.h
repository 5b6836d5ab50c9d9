// Text to ids and back by a tokenizer's components.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/data/tokenizers/components.h"

namespace galleon {

// INVALID_ARGUMENT, with `where`: an added token of which its normal form leaves nothing.
absl::StatusOr<std::unique_ptr<Tokenizer>> make_component_tokenizer(TokenizerComponents components,
                                                                    const SpecialTokens& special, DocumentTokens around,
                                                                    std::vector<std::string> files,
                                                                    const std::string& where);

}  // namespace galleon
