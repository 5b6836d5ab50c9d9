#include "worker/engine/data/tsv.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/files.h"
#include "worker/engine/data/json_lines.h"
#include "worker/engine/data/label_order.h"

namespace galleon {

namespace {

constexpr int64_t kMostClasses = 1000;

TsvLayout with_header(std::vector<std::string> texts, std::string label) {
  TsvLayout layout;
  layout.text_columns = std::move(texts);
  layout.label_column = std::move(label);
  return layout;
}

}  // namespace

absl::StatusOr<GlueTask> glue_task(absl::string_view name) {
  const LabelSet binary{{"0", "1"}, false};
  const LabelSet entailment{{"entailment", "not_entailment"}, false};
  if (name == "cola") {
    TsvLayout layout;
    layout.header = false;
    layout.text_places = {3};
    layout.label_place = 1;
    return GlueTask{layout, binary, {"matthews_correlation"}};
  }
  if (name == "sst2") return GlueTask{with_header({"sentence"}, "label"), binary, {"accuracy"}};
  if (name == "mrpc") {
    return GlueTask{with_header({"#1 String", "#2 String"}, "Quality"), binary, {"accuracy", "f1"}};
  }
  if (name == "stsb") {
    return GlueTask{with_header({"sentence1", "sentence2"}, "score"), {{}, true}, {"pearson", "spearman"}};
  }
  if (name == "qqp") {
    GlueTask task{with_header({"question1", "question2"}, "is_duplicate"), binary, {"accuracy", "f1"}};
    task.layout.leaves_out_short_rows = true;
    return task;
  }
  if (name == "mnli") {
    return GlueTask{with_header({"sentence1", "sentence2"}, "gold_label"),
                    {{"entailment", "neutral", "contradiction"}, false},
                    {"accuracy"}};
  }
  if (name == "qnli") return GlueTask{with_header({"question", "sentence"}, "label"), entailment, {"accuracy"}};
  if (name == "rte") return GlueTask{with_header({"sentence1", "sentence2"}, "label"), entailment, {"accuracy"}};
  return absl::NotFoundError(
      absl::StrCat("there is no GLUE task ", name, "; one of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte"));
}

absl::StatusOr<TsvLayout> tsv_layout(const DataOptions& options) {
  if (options.glue_task.empty()) return with_header(options.text_columns, options.label_column);
  ASSIGN_OR_RETURN(GlueTask task, glue_task(options.glue_task));
  return task.layout;
}

absl::StatusOr<TsvColumns> TsvColumns::create(const TsvLayout& layout, absl::string_view header,
                                              const std::string& path) {
  TsvColumns columns;
  if (!layout.header) {
    columns.texts_ = layout.text_places;
    columns.label_ = layout.label_place;
  } else {
    while (!header.empty() && (header.back() == '\r' || header.back() == '\n')) header.remove_suffix(1);
    const std::vector<absl::string_view> names = absl::StrSplit(header, '\t');
    std::vector<std::string> wanted = layout.text_columns;
    wanted.push_back(layout.label_column);
    std::vector<size_t> places;
    for (const std::string& name : wanted) {
      const auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ":1: there is no column \"", name, "\"; there are: ", absl::StrJoin(names, ", ")));
      }
      places.push_back(static_cast<size_t>(found - names.begin()));
    }
    columns.label_ = places.back();
    places.pop_back();
    columns.texts_ = places;
  }
  columns.needed_ = columns.label_ + 1;
  for (const size_t place : columns.texts_) columns.needed_ = std::max(columns.needed_, place + 1);
  return columns;
}

bool TsvColumns::read(absl::string_view line, TsvRow& row) const {
  const std::vector<absl::string_view> cells = absl::StrSplit(line, '\t');
  if (cells.size() < needed_) return false;
  row.texts.clear();
  for (const size_t place : texts_) row.texts.push_back(cells[place]);
  row.label = absl::StripAsciiWhitespace(cells[label_]);
  return true;
}

absl::Status too_few_columns(const std::string& path, int64_t line, absl::string_view row, size_t needed) {
  const auto count = std::count(row.begin(), row.end(), '\t') + 1;
  return absl::InvalidArgumentError(absl::StrCat(line_name(path, line), ": ", count,
                                                 count == 1 ? " column" : " columns", ", and at least ", needed,
                                                 " are needed"));
}

absl::StatusOr<float> label_value(const LabelSet& labels, absl::string_view label, const std::string& path,
                                  int64_t line) {
  if (labels.regression) {
    float value = 0;
    if (absl::SimpleAtof(label, &value) && std::isfinite(value)) return value;
    return absl::InvalidArgumentError(
        absl::StrCat(line_name(path, line), ": the label \"", label, "\" is not a number"));
  }
  const std::optional<size_t> found = label_number(labels.names, label);
  if (!found.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(line_name(path, line), ": the label \"", label,
                                                   "\" is unknown; known are: ", absl::StrJoin(labels.names, ", ")));
  }
  return static_cast<float>(*found);
}

absl::StatusOr<LabelSet> find_labels(const DataOptions& options) {
  if (!options.glue_task.empty()) {
    ASSIGN_OR_RETURN(GlueTask task, glue_task(options.glue_task));
    return task.labels;
  }
  ASSIGN_OR_RETURN(TsvLayout layout, tsv_layout(options));
  ASSIGN_OR_RETURN(std::vector<std::string> paths, expand_globs(options.train, "data.train"));
  std::vector<InputFile> files;
  for (const std::string& path : paths) files.push_back({path, InputFormat::kTsv});
  PieceReader reader(files, 0, {});
  std::set<std::string> seen;
  bool numbers = true;
  int64_t highest = -1;  // as long as all are whole numbers from 0
  bool whole = true;
  bool integers = true;
  std::string negative;  // file and line of the first label below 0
  while (true) {
    ASSIGN_OR_RETURN(std::optional<InputPiece> piece, reader.next());
    if (!piece.has_value()) break;
    const std::string& path = files[piece->file].path;
    if (piece->text.empty()) continue;
    ASSIGN_OR_RETURN(TsvColumns columns, TsvColumns::create(layout, piece->header, path));
    RETURN_IF_ERROR(for_each_line(*piece, [&](absl::string_view line, int64_t number) {
      TsvRow row;
      if (!columns.read(line, row)) return too_few_columns(path, number, line, columns.needed());
      double value = 0;
      int64_t integer = 0;
      const bool number_here = absl::SimpleAtod(row.label, &value);
      if (row.label.empty() || (number_here && !std::isfinite(value))) {
        return absl::InvalidArgumentError(
            absl::StrCat(line_name(path, number), ": the label is ", row.label.empty() ? "empty" : row.label));
      }
      numbers = numbers && number_here;
      const bool whole_here = absl::SimpleAtoi(row.label, &integer);
      integers = integers && whole_here;
      if (whole_here && integer < 0 && negative.empty()) negative = line_name(path, number);
      whole = whole && whole_here && integer >= 0 && integer < kMostClasses;
      if (whole) highest = std::max(highest, integer);
      // Beyond this many they can only be numbers.
      if (static_cast<int64_t>(seen.size()) <= kMostClasses) seen.emplace(row.label);
      return absl::OkStatus();
    }));
  }
  LabelSet labels;
  if (seen.empty()) return absl::InvalidArgumentError("data.train: there is no row in the files");
  if (integers && !negative.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        negative,
        ": labels are whole numbers, and some are below 0, so that they are neither the numbers of classes, "
        "which count from 0, nor surely those of a regression; write 0, 1, …, or words, or for a regression a decimal "
        "point (-1.0)"));
  }
  if (whole) {
    for (int64_t i = 0; i <= highest; ++i) labels.names.push_back(absl::StrCat(i));
  } else if (numbers) {
    labels.regression = true;
  } else if (static_cast<int64_t>(seen.size()) > kMostClasses) {
    return absl::InvalidArgumentError(absl::StrCat("data.columns.label: \"", options.label_column,
                                                   "\" holds more than ", kMostClasses,
                                                   " different words; is it the column of the label?"));
  } else {
    labels.names.assign(seen.begin(), seen.end());
  }
  if (!labels.regression && labels.names.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.train: every label is \"", *seen.begin(), "\"; two or more are needed to tell apart"));
  }
  return labels;
}

}  // namespace galleon
