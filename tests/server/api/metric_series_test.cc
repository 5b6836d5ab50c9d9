#include "server/api/metric_series.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <future>

#include "absl/strings/str_cat.h"
#include "common/base/append_file.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "server/api/metric_files.h"

namespace galleon::server {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Le;
using testing::SizeIs;

v1::ReadMetricsRequest wanted(uint32_t buckets, std::vector<std::string> series = {"loss"}, uint64_t first = 0,
                              uint64_t last = 0) {
  v1::ReadMetricsRequest request;
  request.set_buckets(buckets);
  request.set_first_step(first);
  request.set_last_step(last);
  *request.mutable_series() = {series.begin(), series.end()};
  return request;
}

std::string lines(uint64_t first, uint64_t last, double spike_at = -1) {
  std::string text;
  for (uint64_t step = first; step <= last; ++step) {
    absl::StrAppend(&text, "{\"step\": ", step, ", \"loss\": ", static_cast<double>(step) == spike_at ? 1000.0 : 1.0,
                    "}\n");
  }
  return text;
}

TEST(MetricSeries, FewValuesStandAlone) {
  MetricSeries series;
  series.add(lines(1, 5));
  const v1::ReadMetricsResponse read = series.read(wanted(10));
  ASSERT_THAT(read.series(), SizeIs(1));
  EXPECT_EQ(read.bucket_steps(), 1U);
  EXPECT_EQ(read.newest_step(), 5U);
  EXPECT_THAT(read.series(0).steps(), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(read.series(0).low(), IsEmpty());
}

TEST(MetricSeries, OneSpikeAmongManyIsNotLost) {
  MetricSeries series;
  series.add(lines(1, 100'000, 54'321));
  const v1::ReadMetricsResponse read = series.read(wanted(50));
  EXPECT_LE(read.series(0).steps_size(), 50);
  EXPECT_EQ(*std::max_element(read.series(0).high().begin(), read.series(0).high().end()), 1000.0);
  EXPECT_THAT(read.series(0).low(), Each(1.0));
}

TEST(MetricSeries, ACurveThatGrowsKeepsItsOldBuckets) {
  MetricSeries series;
  series.add(lines(1, 1000));
  const v1::ReadMetricsResponse before = series.read(wanted(100));
  series.add(lines(1001, 1010));
  const v1::ReadMetricsResponse after = series.read(wanted(100));
  ASSERT_EQ(before.bucket_steps(), after.bucket_steps());
  for (int i = 0; i + 1 < before.series(0).steps_size(); ++i)
    EXPECT_EQ(before.series(0).steps(i), after.series(0).steps(i));
}

TEST(MetricSeries, WhatIsNotFiniteIsCountedAndLeftOut) {
  MetricSeries series;
  series.add("{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": null}\n{\"step\": 3, \"loss\": 4}\n");
  const v1::ReadMetricsResponse read = series.read(wanted(10));
  EXPECT_THAT(read.series(0).values(), ElementsAre(2, 4));
  EXPECT_EQ(read.series(0).not_finite(), 1U);
  EXPECT_THAT(read.series(0).not_finite_steps(), ElementsAre(2));
}

TEST(MetricSeries, HugeNumbersHaveAFiniteMean) {
  MetricSeries series;
  std::string text;
  for (int step = 1; step <= 64; ++step) absl::StrAppend(&text, "{\"step\": ", step, ", \"loss\": 1.7e308}\n");
  series.add(text);
  EXPECT_THAT(series.read(wanted(2)).series(0).values(), Each(Le(1.7e308)));
}

TEST(MetricSeries, KeysBelowOthersHaveBothNamesAndLinesThatAreNoneArePassedOver) {
  MetricSeries series;
  series.add(
      "nonsense\n[1]\n{\"loss\": 1}\n{\"step\": -1, \"loss\": 1}\n{\"step\": 7, \"memory\": {\"weights\": 8}, "
      "\"bad key\\n\": 1, \"slowest_rank\": null}\n");
  const v1::ReadMetricsResponse read = series.read(wanted(10, {}));
  ASSERT_THAT(read.series(), SizeIs(1));
  EXPECT_EQ(read.series(0).name(), "memory.weights");
}

TEST(MetricSeries, ARangeHasItsOwnBuckets) {
  MetricSeries series;
  series.add(lines(1, 100'000));
  const v1::ReadMetricsResponse read = series.read(wanted(100, {"loss"}, 500, 550));
  EXPECT_EQ(read.bucket_steps(), 1U);
  EXPECT_EQ(read.series(0).steps(0), 500U);
  EXPECT_EQ(read.series(0).steps_size(), 51);
}

TEST(MetricSeries, AStepThatIsTrainedAgainHasItsNewValue) {
  MetricSeries series;
  series.add(lines(1, 10));
  series.add("{\"step\": 5, \"loss\": 9}\n");
  const v1::ReadMetricsResponse read = series.read(wanted(100));
  EXPECT_THAT(read.series(0).steps(), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(read.series(0).values(4), 9.0);
}

TEST(MetricSeries, WrongRequestsAreRefusedByName) {
  EXPECT_THAT(std::string(check_metrics_request(wanted(2001)).message()), testing::StartsWith("buckets: "));
  EXPECT_THAT(std::string(check_metrics_request(wanted(1, {}, 9, 3)).message()), testing::StartsWith("last_step: "));
  EXPECT_TRUE(check_metrics_request(wanted(2000, {}, 3, 0)).ok());
}

class MetricFilesTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  absl::StatusOr<v1::ReadMetricsResponse> read() {
    std::promise<absl::StatusOr<v1::ReadMetricsResponse>> answer;
    files_.read(folder_, wanted(100),
                [&answer](absl::StatusOr<v1::ReadMetricsResponse> got) { answer.set_value(std::move(got)); });
    return answer.get_future().get();
  }

  const std::string folder_ =
      (std::filesystem::temp_directory_path() / absl::StrCat("galleon-metrics-", random_hex(8))).string();
  MetricFiles files_{folder_};
};

TEST_F(MetricFilesTest, AFileGrowsAndIsWrittenAnew) {
  EXPECT_THAT(read()->series(), IsEmpty());
  const std::string path = folder_ + "/metrics.jsonl";
  ASSERT_TRUE(append_file(path, lines(1, 3) + "{\"step\": 4, \"lo").ok());
  EXPECT_EQ(read()->newest_step(), 3U);
  ASSERT_TRUE(append_file(path, "ss\": 8}\n").ok());
  EXPECT_THAT(read()->series(0).values(), ElementsAre(1, 1, 1, 8));
  // As a job does that resumes.
  ASSERT_TRUE(write_file_atomically(path, lines(1, 2)).ok());
  EXPECT_EQ(read()->newest_step(), 2U);
}

TEST_F(MetricFilesTest, WhatIsNoPlainFileIsNotRead) {
  const std::string path = folder_ + "/metrics.jsonl";
  ASSERT_TRUE(write_file_atomically(folder_ + "/other", lines(1, 2)).ok());
  std::filesystem::create_symlink(folder_ + "/other", path);
  EXPECT_EQ(read().status().code(), absl::StatusCode::kFailedPrecondition);
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(read().status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace galleon::server
