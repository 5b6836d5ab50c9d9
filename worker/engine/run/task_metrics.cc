#include "worker/engine/run/task_metrics.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace galleon {

namespace {

std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double mean = 0.5 * static_cast<double>(begin + 1 + end);
    for (; begin < end; ++begin) ranks[order[begin]] = mean;
  }
  return ranks;
}

// Answers that are counted together.
class Group {
 public:
  explicit Group(const LabelSet& labels) : labels_(labels) {}

  void add(const TaskAnswer& answer) {
    GALLEON_CHECK(static_cast<int64_t>(answer.outputs.size()) == labels_.outputs())
        << answer.outputs.size() << " outputs for " << labels_.outputs() << " labels";
    if (labels_.regression) {
      values_.push_back(answer.outputs[0]);
      true_values_.push_back(answer.label);
      return;
    }
    const auto best = std::max_element(answer.outputs.begin(), answer.outputs.end());
    classes_.push_back(static_cast<int>(best - answer.outputs.begin()));
    true_classes_.push_back(static_cast<int>(answer.label));
  }

  bool empty() const { return values_.empty() && classes_.empty(); }

  double metric(const std::string& name) const {
    if (name == "accuracy") return accuracy(classes_, true_classes_);
    if (name == "f1") return f1(with_one_as_1(classes_), with_one_as_1(true_classes_));
    if (name == "matthews_correlation") return matthews_correlation(classes_, true_classes_);
    if (name == "pearson") return pearson(values_, true_values_);
    GALLEON_CHECK(name == "spearman") << name;
    return spearman(values_, true_values_);
  }

 private:
  // A model may have the labels "0" and "1" in the other order; the one that counts is "1".
  std::vector<int> with_one_as_1(std::vector<int> classes) const {
    if (labels_.names == std::vector<std::string>{"1", "0"}) {
      for (int& c : classes) c = 1 - c;
    }
    return classes;
  }

  const LabelSet& labels_;
  std::vector<int> classes_, true_classes_;
  std::vector<double> values_, true_values_;
};

double loss_of(const TaskAnswer& answer, bool regression) {
  if (regression) {
    const double error = static_cast<double>(answer.outputs[0]) - answer.label;
    return error * error;
  }
  const double highest = *std::max_element(answer.outputs.begin(), answer.outputs.end());
  double sum = 0;
  for (const float output : answer.outputs) sum += std::exp(output - highest);
  return highest + std::log(sum) - answer.outputs[static_cast<size_t>(answer.label)];
}

}  // namespace

double accuracy(const std::vector<int>& predicted, const std::vector<int>& truth) {
  int64_t right = 0;
  for (size_t i = 0; i < truth.size(); ++i) right += predicted[i] == truth[i] ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(truth.size());
}

double f1(const std::vector<int>& predicted, const std::vector<int>& truth) {
  int64_t both = 0;
  int64_t either = 0;  // counted once for each side
  for (size_t i = 0; i < truth.size(); ++i) {
    both += predicted[i] == 1 && truth[i] == 1 ? 1 : 0;
    either += (predicted[i] == 1 ? 1 : 0) + (truth[i] == 1 ? 1 : 0);
  }
  return either == 0 ? 0 : 2.0 * static_cast<double>(both) / static_cast<double>(either);
}

double matthews_correlation(const std::vector<int>& predicted, const std::vector<int>& truth) {
  const int highest =
      std::max(*std::max_element(predicted.begin(), predicted.end()), *std::max_element(truth.begin(), truth.end()));
  std::vector<double> of_predicted(highest + 1);
  std::vector<double> of_truth(highest + 1);
  double right = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    ++of_predicted[predicted[i]];
    ++of_truth[truth[i]];
    right += predicted[i] == truth[i] ? 1 : 0;
  }
  const auto count = static_cast<double>(truth.size());
  double cross = 0;
  double predicted_squares = 0;
  double truth_squares = 0;
  for (int c = 0; c <= highest; ++c) {
    cross += of_predicted[c] * of_truth[c];
    predicted_squares += of_predicted[c] * of_predicted[c];
    truth_squares += of_truth[c] * of_truth[c];
  }
  const double scale = (count * count - predicted_squares) * (count * count - truth_squares);
  return scale > 0 ? (right * count - cross) / std::sqrt(scale) : 0;
}

double pearson(const std::vector<double>& x, const std::vector<double>& y) {
  const auto count = static_cast<double>(x.size());
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / count;
  const double mean_y = std::accumulate(y.begin(), y.end(), 0.0) / count;
  double xx = 0;
  double yy = 0;
  double xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

double spearman(const std::vector<double>& x, const std::vector<double>& y) {
  return pearson(ranks_of(x), ranks_of(y));
}

TaskScore task_score(const std::vector<TaskAnswer>& answers, const LabelSet& labels, std::vector<std::string> metrics,
                     const std::vector<InputFile>& files) {
  if (metrics.empty() && labels.regression) metrics = {"pearson", "spearman"};
  if (metrics.empty() && labels.names.size() == 2) metrics = {"accuracy", "f1", "matthews_correlation"};
  if (metrics.empty()) metrics = {"accuracy"};
  Group usual(labels);
  Group apart(labels);
  TaskScore score;
  for (const TaskAnswer& answer : answers) {
    score.loss += loss_of(answer, labels.regression);
    const bool mismatched =
        answer.file < files.size() &&
        absl::StrContains(std::filesystem::path(files[answer.file].path).filename().string(), "mismatched");
    (mismatched ? apart : usual).add(answer);
  }
  score.loss /= static_cast<double>(answers.size());
  for (const std::string& name : metrics) {
    if (!usual.empty()) score.metrics[name] = usual.metric(name);
    if (!apart.empty()) score.metrics[absl::StrCat(name, "_mismatched")] = apart.metric(name);
  }
  return score;
}

}  // namespace galleon
