// A mixture of data.train: each source has its share at every place, whatever the ranks, and across a resume.
#include <numeric>
#include <set>

#include "tests/worker/engine/labelled_letters.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/step_feed.h"
#include "worker/engine/data/training_set.h"
#include "worker/engine/run/options_from_job.h"

namespace galleon {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(MixtureOrder, EachSourceHasItsShareToWithinOneSequenceAtEveryPlace) {
  const std::vector<double> cases[] = {
      {1},
      {3, 1},
      {1, 1, 1},
      {0.7, 0.2, 0.1},
      {0.3, 0.3, 0.3, 0.1},
      {1e9, 1},
      {5e-320, 1e-319},
      {1e300, 3e300},
      {1.0 / 3, 1.0 / 7, 1.0 / 11, 1.0 / 13, 0.5, 2.25},
      {10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
      {0.49, 0.5, 0.01},
      {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71},
  };
  for (const std::vector<double>& weights : cases) {
    MixtureOrder order(weights);
    const double largest = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (const double weight : weights) sum += weight / largest;
    std::vector<int64_t> given(weights.size(), 0);
    for (int64_t n = 0; n < 20000; ++n) {
      ASSERT_EQ(order.given(n), given) << n;
      const MixtureOrder::Place place = order.place(n);
      ASSERT_EQ(place.number, given[place.source]) << "sequences of a source come one after the other";
      ++given[place.source];
      for (size_t i = 0; i < weights.size(); ++i) {
        const double due = static_cast<double>(n + 1) * (weights[i] / largest / sum);
        // Doubles round the share.
        ASSERT_LT(std::abs(static_cast<double>(given[i]) - due), 1 + 1e-9) << "source " << i << " at " << n;
      }
    }
  }
}

TEST(MixtureOrder, DecimalsThatDoublesDoNotHaveRepeatExactly) {
  MixtureOrder order({0.7, 0.2, 0.1});
  for (int64_t n = 0; n <= 100000; n += 10) EXPECT_THAT(order.given(n), ElementsAre(n / 10 * 7, n / 10 * 2, n / 10));
  MixtureOrder thirds({1.0 / 3, 2.0 / 3});
  EXPECT_THAT(thirds.given(30000), ElementsAre(10000, 20000));
}

TEST(MixtureOrder, APlaceIsTheSameFromWhereverItIsAskedFor) {
  const std::vector<double> weights = {0.123456789, 0.5, 0.31};
  MixtureOrder forward(weights);
  std::vector<MixtureOrder::Place> places;
  for (int64_t n = 0; n < 30000; ++n) places.push_back(forward.place(n));
  for (const int64_t n : {29999, 4096, 4095, 0, 12345, 8192}) {
    MixtureOrder fresh(weights);
    EXPECT_EQ(fresh.place(n), places[n]);
    EXPECT_EQ(forward.place(n), places[n]);
  }
  // Far behind the beginning of a mixture that repeats.
  MixtureOrder far({3, 1});
  EXPECT_EQ(far.place(4'000'000'000'000 + 5).number, 3'000'000'000'000 * (far.place(5).source == 0) +
                                                         1'000'000'000'000 * (far.place(5).source == 1) +
                                                         far.place(5).number);
}

// Rows that say which source they are of; `count` of them.
std::string rows(char source, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, "{\"text\": \"", std::string(1, source), i, "\"}\n");
  return text;
}

RunOptions mixed_run(const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.data.train = {folder.write("a.jsonl", rows('a', 30)), folder.write("b.jsonl", rows('b', 7))};
  o.data.train_weights = {3, 1};
  o.data.validation = {};
  o.data.packing = false;
  o.evaluate_every = 0;
  o.global_batch = 12;
  o.micro_batch = 2;
  return o;
}

// The rows of each step, as all ranks together see them.
std::vector<std::multiset<std::string>> steps_of(const RunOptions& o, const std::string& folder, int ranks,
                                                 int64_t first_step, int64_t last_step) {
  const std::unique_ptr<Tokenizer> tokenizer = *open_tokenizer("bytes");
  std::vector<std::multiset<std::string>> steps(last_step + 1 - first_step);
  for (int rank = 0; rank < ranks; ++rank) {
    TrainingSet set(o.data);
    for (const TrainingPart& part : training_parts(o.data)) {
      CorpusRequest request;
      request.options = o.data;
      request.globs = part.globs;
      request.key = part.key;
      request.name = part.name;
      request.tokenizer = tokenizer.get();
      request.vocabulary = 257;
      request.folder = folder;
      absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(request);
      EXPECT_TRUE(corpus.ok()) << corpus.status();
      set.add(part, *std::move(corpus));
    }
    EXPECT_TRUE(set.wait_for_all().ok());
    FeedShape shape;
    shape.global_batch = o.global_batch;
    shape.micro_batch = o.micro_batch;
    shape.sequence_length = o.data.sequence_length;
    shape.rank = rank;
    shape.ranks = ranks;
    StepFeed feed(set.order(), shape, first_step, last_step);
    for (std::multiset<std::string>& step : steps) {
      absl::StatusOr<StepData> data = feed.next();
      EXPECT_TRUE(data.ok()) << data.status();
      if (!data.ok()) return steps;
      for (const Batch& batch : data->passes) {
        for (int64_t row = 0; row < batch.sequences; ++row) {
          const int64_t length = batch.lengths.empty() ? batch.length : batch.lengths[row];
          std::string text;
          for (int64_t i = 0; i < length; ++i) text.push_back(static_cast<char>(batch.ids[row * batch.length + i]));
          step.insert(text);
        }
      }
    }
  }
  return steps;
}

TEST(Mixture, AStepSeesTheSameOnOneTwoAndThreeRanksAndWithoutThoseBeforeIt) {
  TestFolder folder;
  const RunOptions o = mixed_run(folder);
  const auto one = steps_of(o, folder.path() + "/data", 1, 1, 20);
  EXPECT_EQ(steps_of(o, folder.path() + "/data", 2, 1, 20), one);
  EXPECT_EQ(steps_of(o, folder.path() + "/data", 3, 1, 20), one);
  const auto rest = steps_of(o, folder.path() + "/data", 2, 9, 20);
  EXPECT_TRUE(std::equal(rest.begin(), rest.end(), one.begin() + 8));
  // Three of four are of a, in every step.
  for (const auto& step : one)
    EXPECT_EQ(std::count_if(step.begin(), step.end(), [](const std::string& row) { return row[0] == 'a'; }), 9);
}

TEST(Mixture, ASmallSourceBeginsAgainInAnotherOrderWhileTheLargeOneGoesOn) {
  TestFolder folder;
  RunOptions o = mixed_run(folder);
  o.data.train_weights = {1, 1};
  o.global_batch = o.micro_batch = 14;
  const auto steps = steps_of(o, folder.path() + "/data", 1, 1, 4);
  std::multiset<std::string> large;
  for (const auto& step : steps) {
    std::multiset<std::string> small;
    for (const std::string& row : step) (row[0] == 'a' ? large : small).insert(row);
    EXPECT_EQ(small.size(), 7U);
    EXPECT_EQ(std::set<std::string>(small.begin(), small.end()).size(), 7U) << "each row once a pass";
  }
  EXPECT_EQ(std::set<std::string>(large.begin(), large.end()).size(), 28U) << "none twice before all 30 have come";

  const EpochOrder order(true, 42, 100);
  std::vector<int64_t> passes[2];
  for (int64_t n = 0; n < 14; ++n) passes[n / 7].push_back(order.place(n, {7, true, 0}).index);
  EXPECT_NE(passes[0], passes[1]);
}

TEST(Mixture, OneRunAndOneThatWasInterruptedAreTheSameBitForBit) {
  TestFolder folder;
  RunOptions o = mixed_run(folder);
  const RankOutcome whole = run_one(o, folder.path() + "/whole");
  ASSERT_TRUE(whole.result.ok()) << whole.result.status();
  EXPECT_THAT(whole.observer.stages, Contains(HasSubstr("data.train is a mixture: 75 % from ")));
  EXPECT_THAT(whole.observer.stages, Contains(testing::AllOf(HasSubstr("the mixture of 12 steps: 108 sequences from "),
                                                             HasSubstr("a.jsonl, which has 30 (3.6 passes); 36 from "),
                                                             HasSubstr("b.jsonl, which has 7 (5.14 passes)"))));
  o.checkpoint_folder = folder.path() + "/parts-checkpoints";
  const auto stop = [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 5; };
  const RankOutcome first = run_one(o, folder.path() + "/parts", stop);
  ASSERT_TRUE(first.result.ok()) << first.result.status();
  ASSERT_EQ(first.result->step, 5);
  const RankOutcome second = run_one(o, folder.path() + "/parts");
  ASSERT_TRUE(second.result.ok()) << second.result.status();
  EXPECT_THAT(second.observer.stages,
              Contains(testing::AllOf(HasSubstr("the mixture goes on behind 45 sequences from "),
                                      HasSubstr("a.jsonl, 15 from "))));
  std::vector<double> losses = first.observer.losses();
  for (const double loss : second.observer.losses()) losses.push_back(loss);
  EXPECT_EQ(losses, whole.observer.losses());
}

TEST(Mixture, TwoRanksAndThreeLearnTheSame) {
  std::vector<double> alone;
  for (const int ranks : {1, 2, 3}) {
    TestFolder folder;
    const std::vector<RankOutcome> outcomes = run_ranks(mixed_run(folder), ranks, folder.path());
    ASSERT_TRUE(outcomes[0].result.ok()) << outcomes[0].result.status();
    if (ranks == 1) alone = outcomes[0].observer.losses();
    // Sums are added in another order.
    for (size_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(outcomes[0].observer.losses()[i], alone[i], 2e-4) << ranks;
  }
}

TEST(Mixture, AnotherWeightIsOtherDataForAResume) {
  TestFolder folder;
  RunOptions o = mixed_run(folder);
  o.schedule_steps = 100;
  ASSERT_TRUE(run_one(o, folder.path()).result.ok());
  o.steps = 14;
  o.data.train_weights = {2, 1};
  const std::string error(run_one(o, folder.path()).result.status().message());
  EXPECT_THAT(error, HasSubstr("weight 3"));
  EXPECT_THAT(error, HasSubstr("weight 2"));
  EXPECT_THAT(error, HasSubstr("checkpoint.resume_with_changed_data: true"));
  o.resume_with_changed_data = true;
  EXPECT_TRUE(run_one(o, folder.path()).result.ok());
  // And so are entries without weights.
  o.resume_with_changed_data = false;
  o.steps = 16;
  o.data.train_weights = {};
  EXPECT_THAT(std::string(run_one(o, folder.path()).result.status().message()),
              HasSubstr("checkpoint.resume_with_changed_data: true"));
}

TEST(Mixture, AnEpochHasAsManySequencesAsAllSourcesTogether) {
  const struct {
    LastBatch last;
    int steps;
    const char* told;
    const char* passes;
  } cases[] = {
      {LastBatch::kWrap, 6, "training.epochs 2 of 37 sequences in batches of 12: 6 steps, drawn by weight",
       "54 sequences from "},
      {LastBatch::kShort, 8, "8 steps; the last of an epoch has 1", "56 sequences from "},
      {LastBatch::kDrop, 6, "6 steps; 1 of an epoch are left out", "56 sequences from "},
  };
  for (const auto& c : cases) {
    TestFolder folder;
    RunOptions o = mixed_run(folder);
    o.steps = 0;
    o.epochs = 2;
    o.last_batch = c.last;
    const RankOutcome outcome = run_one(o, folder.path());
    ASSERT_TRUE(outcome.result.ok()) << outcome.result.status();
    EXPECT_EQ(outcome.result->step, c.steps);
    EXPECT_THAT(outcome.observer.stages, Contains(HasSubstr(c.told)));
    EXPECT_THAT(outcome.observer.stages, Contains(HasSubstr(c.passes)));
  }
}

TEST(Mixture, TextAndTokenFilesAndOneFileTwiceGoTogether) {
  TestFolder folder;
  RunOptions o = tiny_run(folder);
  std::string ids;
  for (int i = 0; i < 2000; ++i) ids += {static_cast<char>(i * 7 % 100), '\0'};
  o.data.train = {o.data.train[0], folder.write("ids.tokens", ids), o.data.train[0]};
  o.data.train_weights = {1, 2.5, 0.5};
  const std::vector<RankOutcome> outcomes = run_ranks(o, 2, folder.path());
  ASSERT_TRUE(outcomes[0].result.ok()) << outcomes[0].result.status();
  EXPECT_THAT(outcomes[0].observer.stages, Contains(HasSubstr("60 from " + o.data.train[1] + ", which has 62 ")));
}

TEST(Mixture, LabelledRowsAreMixed) {
  TestFolder folder;
  RunOptions o = classification(folder);
  o.data.train = {folder.write("one.tsv", labelled_letters(200, 1)), folder.write("two.tsv", labelled_letters(40, 2))};
  o.data.train_weights = {1, 1};
  o.steps = 4;
  o.evaluate_every = 0;
  const RankOutcome outcome = run_one(o, folder.path());
  ASSERT_TRUE(outcome.result.ok()) << outcome.result.status();
  EXPECT_THAT(outcome.observer.stages, Contains(HasSubstr("the mixture of 4 steps: ")));
}

TEST(Mixture, WhatIsWrongWithASourceIsNamedByItsEntry) {
  TestFolder folder;
  RunOptions o = mixed_run(folder);
  o.data.train[1] = folder.path() + "/none*";
  EXPECT_THAT(std::string(run_one(o, folder.path()).result.status().message()),
              HasSubstr("data.train[1]: no file matches"));
  o.data.train[1] = folder.write("empty.jsonl", "");
  EXPECT_THAT(std::string(run_one(o, folder.path()).result.status().message()),
              HasSubstr("data.train[1]: there is no text in"));
  o.data.train[1] = folder.write("bad.jsonl", rows('b', 3) + "{\"text\": 3}\n");
  for (const int ranks : {1, 2}) {
    const std::vector<RankOutcome> outcomes = run_ranks(o, ranks, folder.path());
    EXPECT_THAT(std::string(outcomes[0].result.status().message()), HasSubstr("data.train[1]: "));
    EXPECT_THAT(std::string(outcomes[0].result.status().message()), HasSubstr("bad.jsonl:4: no text field"));
    EXPECT_FALSE(outcomes.back().result.ok());
  }
}

TEST(Mixture, WeightsComeFromTheJobAndRanksMustAgreeOnThem) {
  v1::Job job;
  job.mutable_data()->add_train("a");
  job.mutable_data()->add_train("b");
  EXPECT_TRUE(options_from_job(job, ".").data.train_weights.empty());
  const std::string without = job_lines(job);
  job.mutable_data()->add_train_weights(3);
  job.mutable_data()->add_train_weights(0.25);
  EXPECT_THAT(options_from_job(job, ".").data.train_weights, ElementsAre(3, 0.25));
  EXPECT_THAT(job_lines(job), HasSubstr("data.train_weights: 3, 0.25\n"));
  EXPECT_NE(job_lines(job), without);
  // A resume is refused by what the weights make of the data, which may be allowed to change.
  EXPECT_THAT(mathematics_of(job), testing::Not(HasSubstr("weights")));
}

}  // namespace
}  // namespace galleon
