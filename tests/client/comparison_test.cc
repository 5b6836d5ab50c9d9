#include "client/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "client/plot.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

v1::JobRecord job(const std::string& id, const std::string& rate, double loss, uint64_t step = 20) {
  v1::JobRecord record;
  record.set_job_id(id);
  record.set_state(v1::JobRecord::RUNNING);
  *record.mutable_job() =
      *parse_job("name: " + id + "\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\n" +
                     "data: {train: [/x]}\ntraining: {steps: 30}\noptimizer: {learning_rate: " + rate + "}\n",
                 "job.yaml", "");
  record.mutable_progress()->set_step(step);
  record.mutable_progress()->set_total_steps(30);
  record.mutable_progress()->set_loss(loss);
  return record;
}

TEST(Comparison, CurvesComeFromTheLog) {
  Curve curve;
  CurveReader reader(curve);
  reader.add("2026-01-01T00:00:00Z I step 1/30  loss 6.5000  rate 0.1  norm 2 900 tokens/s\n2026 I step 10/30  lo");
  reader.add("ss 5.2500  rate\n2026 I step 10  validation loss 5.5000  perplexity 4\nnoise step x/30  loss 1\n");
  reader.add("2026 I step 20/30  loss nan  rate 0\n2026 I step 10/30  loss 5.0000  rate 0");
  reader.finish();
  EXPECT_EQ(curve.training.at(1), 6.5);
  EXPECT_EQ(curve.training.at(10), 5.0);
  EXPECT_TRUE(std::isnan(curve.training.at(20)));
  EXPECT_EQ(curve.training.size(), 3U);
  EXPECT_EQ(curve.validation.at(10), 5.5);
}

TEST(Comparison, TheBestComesFirstWithWhatItHasOtherwise) {
  Curve falling;
  falling.training = {{1, 6.0}, {10, 2.5}, {20, 3.0}};
  const Comparison comparison =
      compare_jobs({job("a-1", "0.1", 4.0), job("b-2", "0.2", 3.0), job("c-3", "0.3", 0, 0)}, {{}, falling, {}});
  EXPECT_THAT(comparison.keys, ElementsAre("optimizer.learning_rate"));
  EXPECT_FALSE(comparison.by_validation);
  EXPECT_EQ(comparison.jobs[0].job.job_id(), "b-2");
  EXPECT_EQ(comparison.jobs[0].best_training, 2.5);
  EXPECT_EQ(comparison.jobs[2].job.job_id(), "c-3");
  const std::string table = comparison_table(comparison);
  EXPECT_THAT(table, HasSubstr("JOB  optimizer.learning_rate  STATE    STEP   TRAINING  BEST    VALIDATION  BEST"));
  EXPECT_THAT(table, HasSubstr("b-2  0.2                      RUNNING  20/30  3.0000    2.5000  -           -"));
  EXPECT_EQ(comparison_csv(comparison).substr(0, 30), "job,optimizer.learning_rate,st");
  EXPECT_THAT(comparison_csv(comparison), HasSubstr("b-2,0.2,RUNNING,,20,30,3,2.5,,\n"));
  const auto json = nlohmann::json::parse(comparison_json(comparison));
  EXPECT_EQ(json[0]["settings"]["optimizer.learning_rate"], "0.2");
  EXPECT_EQ(json[0]["training_loss"], 3.0);
  EXPECT_TRUE(json[2]["training_loss"].is_null());
}

TEST(Comparison, ValidationDecidesWhereAllHaveIt) {
  std::vector<v1::JobRecord> jobs = {job("a-1", "0.1", 1.0), job("b-2", "0.2", 3.0)};
  for (v1::JobRecord& one : jobs) one.mutable_job()->mutable_data()->add_validation("/v");
  jobs[0].mutable_evaluation()->set_validation_loss(5);
  jobs[1].mutable_evaluation()->set_validation_loss(4);
  const Comparison comparison = compare_jobs(jobs, {{}, {}});
  EXPECT_TRUE(comparison.by_validation);
  EXPECT_EQ(comparison.jobs[0].job.job_id(), "b-2");
}

TEST(Comparison, APictureHasAxesALegendAndBothColourSchemes) {
  Curve curve;
  curve.training = {{1, 6.0}, {10, std::nan("")}, {20, 3.0}};
  curve.validation = {{10, 4.0}, {20, 3.5}};
  v1::JobRecord odd = job("b-2", "0.2", 3.0);
  odd.set_job_id("b<&-2");
  const Comparison comparison = compare_jobs({job("a-1", "0.1", 4.0), odd}, {curve, {}});
  for (const bool logarithmic : {false, true}) {
    const std::string svg = comparison_svg(comparison, "a & b", logarithmic);
    EXPECT_THAT(svg, HasSubstr("prefers-color-scheme:dark"));
    EXPECT_THAT(svg, HasSubstr("a &amp; b"));
    EXPECT_THAT(svg, HasSubstr("optimizer.learning_rate=0.1"));
    EXPECT_THAT(svg, HasSubstr("class=\"axis\""));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
    EXPECT_EQ(svg.find("http://www.w3.org/2000/svg"), svg.rfind("http"));
  }
  // Nothing to draw is no fault.
  EXPECT_THAT(svg_of({"empty", "x", "y", true, {}}), HasSubstr("</svg>"));
}

TEST(Comparison, TicksAreRoundNumbers) {
  EXPECT_THAT(ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_EQ(ticks(0.31, 0.36, 5).size(), 6U);
  EXPECT_THAT(ticks(3, 3, 5), ElementsAre(3));
}

}  // namespace
}  // namespace galleon
