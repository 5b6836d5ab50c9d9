#include "worker/engine/data/label_order.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace galleon {

namespace {

std::string plain(absl::string_view name) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(absl::StripAsciiWhitespace(name)), {{" ", "_"}, {"-", "_"}});
}

struct TaskWords {
  const char* task;
  const char* words[2];  // for 0 and 1
};
constexpr TaskWords kWords[] = {{"cola", {"unacceptable", "acceptable"}},
                                {"sst2", {"negative", "positive"}},
                                {"mrpc", {"not_equivalent", "equivalent"}},
                                {"qqp", {"not_duplicate", "duplicate"}}};

// `names` in the order of the model's; empty: not one to one.
std::vector<std::string> permuted(const std::vector<std::string>& names, const std::vector<std::string>& spelled,
                                  const std::vector<std::string>& model_names) {
  if (names.size() != model_names.size()) return {};
  std::vector<std::string> ordered;
  for (const std::string& model_name : model_names) {
    const std::optional<size_t> number = label_number(spelled, model_name);
    if (!number.has_value() || std::find(ordered.begin(), ordered.end(), names[*number]) != ordered.end()) return {};
    ordered.push_back(names[*number]);
  }
  return ordered;
}

}  // namespace

std::optional<size_t> label_number(const std::vector<std::string>& names, absl::string_view label) {
  const auto exact = std::find(names.begin(), names.end(), label);
  if (exact != names.end()) return static_cast<size_t>(exact - names.begin());
  const std::string wanted = plain(label);
  std::optional<size_t> found;
  for (size_t i = 0; i < names.size(); ++i) {
    if (plain(names[i]) != wanted) continue;
    if (found.has_value()) return std::nullopt;
    found = i;
  }
  return found;
}

bool only_numbers(const LabelSet& labels) {
  for (size_t i = 0; i < labels.names.size(); ++i) {
    if (std::find(labels.names.begin(), labels.names.end(), absl::StrCat(i)) == labels.names.end()) return false;
  }
  return !labels.names.empty();
}

std::optional<LabelSet> in_models_order(const LabelSet& labels, const std::vector<std::string>& model_names,
                                        absl::string_view glue_task) {
  if (labels.regression || model_names.empty()) return std::nullopt;
  std::vector<std::string> ordered = permuted(labels.names, labels.names, model_names);
  for (const TaskWords& task : kWords) {
    if (ordered.empty() && glue_task == task.task)
      ordered = permuted(labels.names, {task.words[0], task.words[1]}, model_names);
  }
  if (ordered.empty()) return std::nullopt;
  return LabelSet{std::move(ordered), false};
}

}  // namespace galleon
