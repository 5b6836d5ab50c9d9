#include "client/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "absl/strings/str_split.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

v1::StepMetrics step_of(uint64_t number, uint64_t total = 100) {
  v1::StepMetrics step;
  step.set_step(number);
  step.set_total_steps(total);
  step.set_loss(3.25);
  step.set_tokens(number * 1000);
  step.set_tokens_per_second(500);
  return step;
}

v1::Stage stage_of(const std::string& name, const std::string& detail) {
  v1::Stage stage;
  stage.set_name(name);
  stage.set_detail(detail);
  return stage;
}

// What a view writes.
std::string written(bool terminal, const std::function<void(ProgressView&)>& events) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = ::open_memstream(&text, &size);
  {
    ProgressView view(out, terminal, "a-1");
    events(view);
  }
  std::fclose(out);
  std::string copy(text, size);
  std::free(text);
  return copy;
}

std::vector<std::string> lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

// Characters of UTF-8 text.
int columns_of(const std::string& text) {
  return static_cast<int>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

TEST(ProgressView, WritesPlainLinesWhereThereIsNoTerminal) {
  const std::string text = written(false, [](ProgressView& view) {
    view.stage(stage_of("allocate", "58 MiB"));
    view.step(step_of(1));
    view.step(step_of(2));
  });
  EXPECT_THAT(text, Not(HasSubstr("\033")));
  EXPECT_THAT(text, Not(HasSubstr("\r")));
  EXPECT_THAT(lines(text),
              ElementsAre(HasSubstr("58 MiB"), HasSubstr("step 1/100  loss 3.2500  500 tokens/s  3 min 18 s left"),
                          HasSubstr("step 2/100")));
}

TEST(ProgressView, ShowsEachStepEvaluationAndStageOnce) {
  const std::string text = written(false, [](ProgressView& view) {
    v1::Evaluation evaluation;
    evaluation.set_step(1);
    evaluation.set_validation_loss(2.5);
    evaluation.set_perplexity(12.18);
    for (int i = 0; i < 3; ++i) view.stage(stage_of("tokenize", "text"));
    for (int i = 0; i < 3; ++i) view.step(step_of(1)), view.evaluation(evaluation);
  });
  EXPECT_THAT(lines(text), ElementsAre(HasSubstr("tokenize"), HasSubstr("step 1/100"),
                                       HasSubstr("validation loss 2.5000  perplexity 12.18")));
}

TEST(ProgressView, SaysNothingOfAnEmptyStageOrStepZero) {
  EXPECT_EQ(written(false,
                    [](ProgressView& view) {
                      view.stage(v1::Stage()), view.step(step_of(0)), view.evaluation(v1::Evaluation());
                    }),
            "");
}

TEST(ProgressView, AStageBetweenStepsHasNoLine) {
  const std::string text = written(false, [](ProgressView& view) {
    view.step(step_of(1));
    view.stage(stage_of("save", "step 1"));
  });
  EXPECT_EQ(lines(text).size(), 1U) << text;
}

TEST(ProgressView, WhatACopyOrATrackerSaysBetweenStepsHasALine) {
  const std::string text = written(false, [](ProgressView& view) {
    view.step(step_of(1));
    view.stage(stage_of("copy", "step 1 is copied"));
    view.stage(stage_of("train", ""));
    view.stage(stage_of("tracking", "run 7"));
  });
  EXPECT_THAT(lines(text), ElementsAre(HasSubstr("step 1/100"), HasSubstr("step 1 is copied"), HasSubstr("run 7")));
}

TEST(ProgressView, OnATerminalOneLineChangesAndEndsWithANewline) {
  const std::string text = written(true, [](ProgressView& view) {
    view.step(step_of(1));
    view.step(step_of(2));
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 2);
}

TEST(ProgressView, ANoteStandsAboveTheBar) {
  const std::string text = written(true, [](ProgressView& view) {
    view.step(step_of(1));
    view.note("saving");
  });
  const std::vector<std::string> all = lines(text);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_THAT(all[0], HasSubstr("a-1  saving"));
  EXPECT_THAT(all[1], HasSubstr("step 1/100")) << "the bar is drawn again below it";
}

TEST(BarLine, FitsEveryTerminal) {
  for (int columns = 20; columns <= 200; ++columns) {
    EXPECT_LT(columns_of(ProgressView::bar_line("llama-60m-c4-1", step_of(50), columns)), columns)
        << "a wrapped line cannot be overwritten";
  }
}

TEST(BarLine, IsFilledByTheShareThatIsDone) {
  const auto filled = [](uint64_t step) {
    const std::string line = ProgressView::bar_line("a", step_of(step), 200);
    int full = 0;
    for (size_t at = line.find("█"); at != std::string::npos; at = line.find("█", at + 1)) ++full;
    return full;
  };
  EXPECT_EQ(filled(0), 0);
  EXPECT_EQ(filled(50), 20);
  EXPECT_EQ(filled(100), 40);
  EXPECT_EQ(filled(120), 40) << "more than all is all";
}

TEST(BarLine, LeavesTheBarOutWhereThereIsNoRoom) {
  const std::string line = ProgressView::bar_line("a", step_of(50), 60);
  EXPECT_THAT(line, Not(HasSubstr("█")));
  EXPECT_THAT(line, HasSubstr("step 50/100  loss 3.2500"));
}

TEST(BarLine, HasNoTimeLeftBeforeARateIsKnown) {
  v1::StepMetrics step = step_of(5);
  step.set_tokens_per_second(0);
  EXPECT_THAT(ProgressView::bar_line("a", step, 100), HasSubstr("  - left"));
}

}  // namespace
}  // namespace galleon
