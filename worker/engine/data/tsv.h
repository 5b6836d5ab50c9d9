// Rows of tab-separated files: which columns hold the text and the label, what labels there are. A quotation
// mark is a character, as GLUE's files are written; without glue_task a cell that is quoted around a tab is read as
// one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/data/input_pieces.h"
#include "worker/engine/ground/options.h"

namespace galleon {

// Labels of a classification by their number, or a regression.
struct LabelSet {
  std::vector<std::string> names;
  bool regression = false;  // labels are numbers; there are no names
  int64_t outputs() const { return regression ? 1 : static_cast<int64_t>(names.size()); }
};

struct TsvLayout {
  bool header = true;                     // the first line names the columns
  std::vector<std::string> text_columns;  // one or two
  std::string label_column;
  // Without a header: their places.
  std::vector<size_t> text_places;
  size_t label_place = 0;
  // Rows that are too short are left out, as the task's own tools do, instead of being refused.
  bool leaves_out_short_rows = false;
  bool quoted = false;  // a cell may be quoted around a tab
};

// A GLUE task (Wang 2018): where its files keep what, its labels in the official order, its official metrics.
struct GlueTask {
  TsvLayout layout;
  LabelSet labels;
  std::vector<std::string> metrics;  // of accuracy, f1, matthews_correlation, pearson, spearman
};
// By the job file's word: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte. NOT_FOUND otherwise.
absl::StatusOr<GlueTask> glue_task(absl::string_view name);

// Of data.glue_task, or of data.columns.
absl::StatusOr<TsvLayout> tsv_layout(const DataOptions& options);

// The names of its columns, the label's last; none: they have places alone.
std::vector<std::string> named_columns(const TsvLayout& layout);

// What one row says.
struct TsvRow {
  std::vector<absl::string_view> texts;
  std::vector<std::string> unquoted;  // what texts point into, of a line with quoted cells
  absl::string_view label;
};

// Finds columns in the rows of one file.
class TsvColumns {
 public:
  // `header`: the file's first line where the layout says that there is one. INVALID_ARGUMENT: a column that it lacks,
  // with what it has.
  static absl::StatusOr<TsvColumns> create(const TsvLayout& layout, absl::string_view header, const std::string& path);
  // INVALID_ARGUMENT: too few or too many columns, an empty label; with `where`, as line_name gives it.
  absl::Status read(absl::string_view line, const std::string& where, TsvRow& row) const;
  // Whether a line has the columns that are needed.
  bool has_enough(absl::string_view line) const;

 private:
  std::vector<absl::string_view> cells_of(absl::string_view line, TsvRow& row) const;

  std::vector<size_t> texts_;
  size_t label_ = 0;
  size_t needed_ = 0;
  size_t named_ = 0;     // columns of the header; 0: there is none
  bool quoted_ = false;  // whether a cell may be quoted around a tab
};

// The number of a label, whose name may have other capitals where that leaves no doubt. INVALID_ARGUMENT: unknown, or
// no number, with file and line and what is known.
absl::StatusOr<float> label_value(const LabelSet& labels, absl::string_view label, const std::string& path,
                                  int64_t line);

// The labels of a job: the GLUE task's; else those in the label column of the training files: whole numbers from 0 are
// the numbers of classes, whole numbers of which some are negative are classes in their order, other numbers make a
// regression, words are classes in alphabetical order. INVALID_ARGUMENT: an empty label, or one that is not finite,
// with file and line.
absl::StatusOr<LabelSet> find_labels(const DataOptions& options);

}  // namespace galleon
