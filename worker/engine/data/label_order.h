// Names of labels, as data and a model's id2label write them: which of them mean the same.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/engine/data/tsv.h"

namespace galleon {

// The number of a label among names: exactly, or else in any capitals and with spaces or hyphens for underscores, where
// no more than one name fits. nullopt: there is none.
std::optional<size_t> label_number(const std::vector<std::string>& names, absl::string_view label);

// The labels of data, by the names that the data has for them, in the order of a model whose id2label is `model_names`:
// where both name the same classes (label_number), or the model spells out the 0 and 1 of a GLUE task ("NEGATIVE",
// "POSITIVE" of sst2). nullopt: they do not, or labels have no names.
std::optional<LabelSet> in_models_order(const LabelSet& labels, const std::vector<std::string>& model_names,
                                        absl::string_view glue_task);

// Whether labels are nothing but the numbers 0, 1, …
bool only_numbers(const LabelSet& labels);

}  // namespace galleon
