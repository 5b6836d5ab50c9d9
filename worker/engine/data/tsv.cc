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
#include "worker/engine/data/labelled_rows.h"
#include "worker/engine/data/recognition.h"
#include "worker/engine/data/table_rows.h"

namespace galleon {

namespace {

constexpr int64_t kMostClasses = 1000;

TsvLayout with_header(std::vector<std::string> texts, std::string label) {
  TsvLayout layout;
  layout.text_columns = std::move(texts);
  layout.label_column = std::move(label);
  return layout;
}

// What the labels of the rows have in common.
absl::Status check_finite(absl::string_view label, const std::string& where) {
  double value = 0;
  if (!absl::SimpleAtod(label, &value) || std::isfinite(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(where, ": the label is ", label));
}

class SeenLabels {
 public:
  void add(absl::string_view label) {
    double value = 0;
    int64_t integer = 0;
    numbers_ = numbers_ && absl::SimpleAtod(label, &value) && std::isfinite(value);
    integers_ = integers_ && absl::SimpleAtoi(label, &integer);
    whole_ = whole_ && integers_ && integer >= 0 && integer < kMostClasses;
    if (whole_) highest_ = std::max(highest_, integer);
    // Beyond this many they can only be numbers.
    if (static_cast<int64_t>(words_.size()) > kMostClasses) return;
    words_.emplace(label);
    if (integers_) values_.insert(integer);
  }

  absl::StatusOr<LabelSet> labels(const std::string& column) const {
    LabelSet labels;
    if (words_.empty()) return absl::InvalidArgumentError("data.train: there is no row in the files");
    const bool many = static_cast<int64_t>(words_.size()) > kMostClasses;
    const bool negative = integers_ && !many && *values_.begin() < 0 && values_.size() == words_.size();
    if (whole_) {
      for (int64_t i = 0; i <= highest_; ++i) labels.names.push_back(absl::StrCat(i));
    } else if (negative) {
      for (const int64_t value : values_) labels.names.push_back(absl::StrCat(value));
    } else if (numbers_) {
      labels.regression = true;
    } else if (many) {
      return absl::InvalidArgumentError(absl::StrCat("data.columns.label: \"", column, "\" holds more than ",
                                                     kMostClasses, " different words; is it the column of the label?"));
    } else {
      labels.names.assign(words_.begin(), words_.end());
    }
    if (!labels.regression && labels.names.size() < 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("data.train: every label is \"", *words_.begin(), "\"; two or more are needed to tell apart"));
    }
    return labels;
  }

 private:
  std::set<std::string> words_;
  std::set<int64_t> values_;
  bool numbers_ = true;
  bool integers_ = true;
  bool whole_ = true;     // whole numbers that may number classes
  int64_t highest_ = -1;  // as long as all are
};

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
  if (options.glue_task.empty()) {
    TsvLayout layout = with_header(options.text_columns, options.label_column);
    layout.quoted = true;
    return layout;
  }
  ASSIGN_OR_RETURN(GlueTask task, glue_task(options.glue_task));
  return task.layout;
}

std::vector<std::string> named_columns(const TsvLayout& layout) {
  std::vector<std::string> names = layout.text_columns;
  if (layout.header) names.push_back(layout.label_column);
  return names;
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
    std::vector<size_t> places;
    for (const std::string& name : named_columns(layout)) {
      const auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ":1: there is no column \"", name, "\"; there are: ", absl::StrJoin(names, ", ")));
      }
      places.push_back(static_cast<size_t>(found - names.begin()));
    }
    columns.label_ = places.back();
    columns.named_ = names.size();
    columns.quoted_ = layout.quoted;
    places.pop_back();
    columns.texts_ = places;
  }
  columns.needed_ = columns.label_ + 1;
  for (const size_t place : columns.texts_) columns.needed_ = std::max(columns.needed_, place + 1);
  return columns;
}

bool TsvColumns::has_enough(absl::string_view line) const {
  return static_cast<size_t>(std::count(line.begin(), line.end(), '\t')) + 1 >= needed_;
}

// A line that has more cells than the header is read once more with quoted cells (RFC 4180).
std::vector<absl::string_view> TsvColumns::cells_of(absl::string_view line, TsvRow& row) const {
  std::vector<absl::string_view> cells = absl::StrSplit(line, '\t');
  if (!quoted_ || cells.size() <= named_) return cells;
  absl::StatusOr<std::vector<std::string>> unquoted = cells_of_row(line, '\t');
  if (!unquoted.ok() || unquoted->size() != named_) return cells;
  row.unquoted = *std::move(unquoted);
  return {row.unquoted.begin(), row.unquoted.end()};
}

absl::Status TsvColumns::read(absl::string_view line, const std::string& where, TsvRow& row) const {
  const std::vector<absl::string_view> cells = cells_of(line, row);
  const std::string columns = absl::StrCat(cells.size(), cells.size() == 1 ? " column" : " columns");
  if (cells.size() < needed_)
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", columns, ", and at least ", needed_, " are needed"));
  if (quoted_ && cells.size() > named_)
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", columns, ", and the header has ", named_));
  row.texts.clear();
  for (const size_t place : texts_) row.texts.push_back(cells[place]);
  row.label = absl::StripAsciiWhitespace(cells[label_]);
  if (row.label.empty()) return absl::InvalidArgumentError(absl::StrCat(where, ": the label is empty"));
  return absl::OkStatus();
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
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(InputFormat format, recognise_rows(options.format, path));
    files.push_back({path, format});
  }
  PieceOptions pieces;
  pieces.skip_bad_rows = options.skip_bad_rows;
  pieces.columns = named_columns(layout);
  PieceReader reader(files, 0, pieces);
  SeenLabels seen;
  BadRows bad;
  while (true) {
    ASSIGN_OR_RETURN(std::optional<InputPiece> piece, reader.next());
    if (!piece.has_value()) break;
    const std::string& path = files[piece->file].path;
    RETURN_IF_ERROR(for_each_labelled_row(layout, *piece, path, &bad, nullptr, [&](const TsvRow& row, int64_t number) {
      RETURN_IF_ERROR(check_finite(row.label, line_name(path, number)));
      seen.add(row.label);
      return absl::OkStatus();
    }));
  }
  return seen.labels(options.label_column);
}

}  // namespace galleon
