// The official metrics of classification and regression tasks.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "worker/engine/data/tsv.h"

namespace galleon {

// Predicted and true numbers of classes, as many of each, at least one.
double accuracy(const std::vector<int>& predicted, const std::vector<int>& truth);
// Of class 1: 2·precision·recall / (precision + recall); 0 if class 1 is neither predicted nor true.
double f1(const std::vector<int>& predicted, const std::vector<int>& truth);
// Matthews' correlation coefficient for any number of classes (Gorodkin 2004); 0 where it is not defined.
double matthews_correlation(const std::vector<int>& predicted, const std::vector<int>& truth);
// Correlation coefficients; 0 where one side is constant.
double pearson(const std::vector<double>& x, const std::vector<double>& y);
// Pearson's of the ranks, equal values sharing the mean of theirs.
double spearman(const std::vector<double>& x, const std::vector<double>& y);

// One sequence of an evaluation.
struct TaskAnswer {
  std::vector<float> outputs;  // logits of the classes, or the value of a regression
  float label = 0;
  uint32_t file = 0;
};

struct TaskScore {
  double loss = 0;  // mean of the cross-entropy in nats, or of the squared error
  std::map<std::string, double> metrics;
};

// `metrics` of the names above; empty: accuracy (with two classes f1 and matthews_correlation too), or pearson and
// spearman. Answers of files whose name contains "mismatched" are counted apart, as NAME_mismatched (MNLI).
TaskScore task_score(const std::vector<TaskAnswer>& answers, const LabelSet& labels, std::vector<std::string> metrics,
                     const std::vector<InputFile>& files);

}  // namespace galleon
