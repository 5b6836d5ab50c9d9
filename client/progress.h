// A live view of a run: stages with their time, then a bar with loss, tokens per second and time left. On a terminal
// one line that changes; elsewhere a plain line for every stage and logged step.
#pragma once

#include <cstdio>
#include <string>

#include "galleon/v1/trainer.pb.h"

namespace galleon {

class ProgressView {
 public:
  // `terminal`: colour and a changing line.
  ProgressView(std::FILE* out, bool terminal, const std::string& title);
  ~ProgressView();

  void stage(const v1::Stage& stage);
  void step(const v1::StepMetrics& step);
  void evaluation(const v1::Evaluation& evaluation);
  // A line of its own, above the bar.
  void note(const std::string& text);
  // Ends the changing line.
  void finish();

  // The changing line for a step; public for tests. `columns`: of the terminal.
  static std::string bar_line(const std::string& title, const v1::StepMetrics& step, int columns);

 private:
  void show(const std::string& line);
  void print_line(const std::string& line);

  std::FILE* out_;
  bool terminal_;
  std::string title_;
  std::string shown_;
  std::string stage_;
  uint64_t last_step_ = 0;
  uint64_t last_evaluation_ = 0;
};

// Whether standard output is a terminal that wants colour (NO_COLOR and TERM=dumb say no).
bool is_terminal_output(std::FILE* out);

}  // namespace galleon
