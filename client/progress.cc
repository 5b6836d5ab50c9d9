#include "client/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/output.h"
#include "common/base/printable.h"

namespace galleon {

namespace {

int terminal_columns(std::FILE* out) {
  winsize size{};
  return ::ioctl(::fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

double seconds_left(const v1::StepMetrics& step) {
  if (step.step() == 0 || step.tokens_per_second() <= 0) return 0;
  const double tokens_per_step = static_cast<double>(step.tokens()) / static_cast<double>(step.step());
  return (static_cast<double>(step.total_steps()) - static_cast<double>(step.step())) * tokens_per_step /
         step.tokens_per_second();
}

std::string numbers(const v1::StepMetrics& step) {
  const std::string left = step.tokens_per_second() > 0 ? human_duration(seconds_left(step)) : "-";
  return absl::StrFormat("step %d/%d  loss %.4f  %s tokens/s  %s left", step.step(), step.total_steps(), step.loss(),
                         human_count(step.tokens_per_second()), left);
}

}  // namespace

bool is_terminal_output(std::FILE* out) {
  const char* term = std::getenv("TERM");
  return ::isatty(::fileno(out)) == 1 && std::getenv("NO_COLOR") == nullptr &&
         (term == nullptr || std::string(term) != "dumb");
}

ProgressView::ProgressView(std::FILE* out, bool terminal, const std::string& title)
    : out_(out), terminal_(terminal), title_(printable(title)) {}

ProgressView::~ProgressView() {
  finish();
}

std::string ProgressView::bar_line(const std::string& title, const v1::StepMetrics& step, int columns) {
  const std::string text = numbers(step);
  const int room = columns - static_cast<int>(title.size() + text.size()) - 5;
  // A line that wraps could not be overwritten: what does not fit is cut, the title first.
  if (room < 8)
    return absl::StrCat(title.size() + text.size() + 3 <= static_cast<size_t>(columns) ? title + "  " : "", text)
        .substr(0, std::max(0, columns - 1));
  const int width = std::min(room, 40);
  const double done =
      step.total_steps() > 0 ? static_cast<double>(step.step()) / static_cast<double>(step.total_steps()) : 0.0;
  const int full = std::clamp(static_cast<int>(done * width), 0, width);
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < full ? "█" : "░";
  return absl::StrCat(title, "  ", bar, "  ", text);
}

void ProgressView::show(const std::string& line) {
  std::fprintf(out_, "\r\033[K%s", line.c_str());
  std::fflush(out_);
  shown_ = line;
}

void ProgressView::print_line(const std::string& line) {
  if (terminal_ && !shown_.empty()) {
    std::fprintf(out_, "\r\033[K%s\n%s", line.c_str(), shown_.c_str());
  } else {
    std::fprintf(out_, "%s\n", line.c_str());
  }
  std::fflush(out_);
}

void ProgressView::stage(const v1::Stage& stage) {
  const std::string key = absl::StrCat(stage.name(), stage.detail());
  if (key == stage_ || stage.name().empty()) return;
  stage_ = key;
  // Between steps the bar stands still while something is saved or evaluated; that needs no line of its own. What
  // others say who work beside training does.
  if (last_step_ > 0 && stage.name() != "copy" && stage.name() != "tracking") return;
  print_line(absl::StrFormat("%s  %6.1f s  %-10s %s", title_, stage.elapsed_seconds(), printable(stage.name()),
                             printable(stage.detail())));
}

void ProgressView::step(const v1::StepMetrics& step) {
  if (step.step() == 0 || step.step() == last_step_) return;
  last_step_ = step.step();
  if (terminal_) {
    show(bar_line(title_, step, terminal_columns(out_)));
  } else {
    print_line(absl::StrCat(title_, "  ", numbers(step)));
  }
}

void ProgressView::evaluation(const v1::Evaluation& evaluation) {
  if (evaluation.step() == 0 || evaluation.step() == last_evaluation_) return;
  last_evaluation_ = evaluation.step();
  print_line(absl::StrFormat("%s  step %d  validation loss %.4f  perplexity %.2f", title_, evaluation.step(),
                             evaluation.validation_loss(), evaluation.perplexity()));
}

void ProgressView::note(const std::string& text) {
  print_line(absl::StrCat(title_, "  ", printable(text)));
}

void ProgressView::finish() {
  if (terminal_ && !shown_.empty()) std::fprintf(out_, "\n");
  std::fflush(out_);
  shown_.clear();
}

}  // namespace galleon
