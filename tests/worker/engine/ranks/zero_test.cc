// Whole runs sharded in every way against one rank alone: losses, memory, bytes, and what never leaves a rank.
#include <cstdlib>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/match.h"
#include "tests/worker/engine/ranks/with_ranks.h"
#include "worker/engine/checkpoint/checkpoint.h"

namespace galleon {
namespace {

// fp32 sums in another order move losses by less than this before the second refresh, and after it as much as they do
// when one rank cuts a step into other micro-batches, times 3 (docs/design/galore.md, section 4).
constexpr double kReordered = 1e-5;
// Where moments are rounded to 8 bits, a sum in another order now and then tips one to the neighbouring code.
constexpr double kCoded = 5e-4;
constexpr double kReorderings = 3;

enum class Refresh { kExact, kSubspace, kFullRank };

struct Case {
  int ranks = 1;
  int zero = 1;
  MomentRule rule = MomentRule::kAdamW;
  bool per_layer = false;
  Refresh refresh = Refresh::kSubspace;
  int passes = 1;
  ProjectionSide side = ProjectionSide::kStd;
  bool flash = false;
};

// Values of the factors, in the order of Case's fields.
constexpr int kFactors = 7;
constexpr int kLevels[kFactors] = {4, 3, 4, 2, 3, 2, 3};
using Row = std::array<int, kFactors>;

Case case_of(const Row& row) {
  constexpr MomentRule kRules[] = {MomentRule::kAdamW, MomentRule::kAdam8bit, MomentRule::kAdafactor,
                                   MomentRule::kMuon};
  constexpr ProjectionSide kSides[] = {ProjectionSide::kStd, ProjectionSide::kReverseStd, ProjectionSide::kFull};
  return {row[0] + 1, row[1] + 1,     kRules[row[2]], row[3] == 1, static_cast<Refresh>(row[4]),
          row[5] + 1, kSides[row[6]], false};
}

std::string name_of(const Case& c) {
  const std::map<MomentRule, const char*> rules = {
      {MomentRule::kAdamW, "AdamW"},   {MomentRule::kAdam8bit, "Adam8bit"},     {MomentRule::kAdafactor, "Adafactor"},
      {MomentRule::kMuon, "Muon"},     {MomentRule::kMuon8bit, "Muon8bit"},     {MomentRule::kScale, "Scale"},
      {MomentRule::kApollo, "Apollo"}, {MomentRule::kApolloMini, "ApolloMini"}, {MomentRule::kFira, "Fira"}};
  const char* refresh = c.refresh == Refresh::kExact      ? "Exact"
                        : c.refresh == Refresh::kSubspace ? "Subspace"
                                                          : "FullRank";
  const char* side = c.side == ProjectionSide::kStd ? "Std" : c.side == ProjectionSide::kFull ? "Full" : "ReverseStd";
  return absl::StrCat("Ranks", c.ranks, "Zero", c.zero, rules.at(c.rule), c.per_layer ? "PerLayer" : "PerStep", refresh,
                      "Passes", c.passes, side, c.flash ? "Flash" : "");
}

// Rows in which every two values of two factors meet: the next row is, of 200 seeded ones, that with most new pairs.
std::vector<Case> pairwise() {
  std::set<std::tuple<int, int, int, int>> open;
  for (int f = 0; f < kFactors; ++f) {
    for (int g = f + 1; g < kFactors; ++g) {
      for (int a = 0; a < kLevels[f]; ++a) {
        for (int b = 0; b < kLevels[g]; ++b) open.insert({f, g, a, b});
      }
    }
  }
  auto pairs_of = [](const Row& row) {
    std::vector<std::tuple<int, int, int, int>> pairs;
    for (int f = 0; f < kFactors; ++f) {
      for (int g = f + 1; g < kFactors; ++g) pairs.emplace_back(f, g, row[f], row[g]);
    }
    return pairs;
  };
  std::mt19937_64 random(6);
  std::vector<Case> cases;
  while (!open.empty()) {
    Row best{};
    int most = -1;
    for (int i = 0; i < 200; ++i) {
      Row row;
      for (int f = 0; f < kFactors; ++f) row[f] = static_cast<int>(random() % kLevels[f]);
      int found = 0;
      for (const auto& pair : pairs_of(row)) found += static_cast<int>(open.count(pair));
      if (found > most) {
        most = found;
        best = row;
      }
    }
    for (const auto& pair : pairs_of(best)) open.erase(pair);
    cases.push_back(case_of(best));
  }
  return cases;
}

// All of ranks, stages, rules, times of update, and both searches of bases.
std::vector<Case> every_combination() {
  std::vector<Case> cases;
  for (const int ranks : {1, 2, 3, 4}) {
    for (const int zero : {1, 2, 3}) {
      for (const MomentRule rule :
           {MomentRule::kAdamW, MomentRule::kAdam8bit, MomentRule::kAdafactor, MomentRule::kMuon}) {
        for (const bool per_layer : {false, true}) {
          for (const Refresh refresh : {Refresh::kExact, Refresh::kSubspace})
            cases.push_back({ranks, zero, rule, per_layer, refresh, 2, ProjectionSide::kStd});
        }
      }
    }
  }
  return cases;
}

// The rules that look at the whole gradient: every rank count with every stage under one rule at least, and each rule
// with every rank count, stage, time of update and number of passes; or all of all.
std::vector<Case> of_whole_gradients(bool all) {
  std::vector<Case> cases;
  constexpr MomentRule kRules[] = {MomentRule::kScale, MomentRule::kApollo, MomentRule::kApolloMini, MomentRule::kFira};
  for (int rule = 0; rule < 4; ++rule) {
    for (int ranks = 1; ranks <= 4; ++ranks) {
      for (int zero = 1; zero <= 3; ++zero) {
        for (const bool per_layer : {false, true}) {
          const bool chosen = zero == (rule + ranks) % 3 + 1 && per_layer == ((rule + ranks / 2) % 2 == 0);
          if (!all && !chosen) continue;
          cases.push_back({ranks, zero, kRules[rule], per_layer, Refresh::kFullRank, (rule / 2 + ranks) % 2 + 1});
        }
      }
    }
  }
  return cases;
}

// Companded moments: every rank count with every stage, under AdamW and Muon in turns, in a subspace or at full rank;
// or all of all.
std::vector<Case> of_flash(bool all) {
  std::vector<Case> cases;
  for (int ranks = 1; ranks <= 4; ++ranks) {
    for (int zero = 1; zero <= 3; ++zero) {
      for (int way = 0; way < 8; ++way) {
        if (!all && way != (3 * ranks + 5 * zero) % 8) continue;
        const MomentRule rule = way % 2 == 0 ? MomentRule::kAdamW : MomentRule::kMuon;
        const Refresh refresh = way / 4 == 0 ? Refresh::kSubspace : Refresh::kFullRank;
        cases.push_back({ranks, zero, rule, way / 2 % 2 == 0, refresh, ranks % 2 + 1, ProjectionSide::kStd, true});
      }
    }
  }
  return cases;
}

// Minutes, so that it is asked for by name (CTest's configuration "long").
std::vector<Case> chosen() {
  const bool all = std::getenv("GALLEON_EVERY_COMBINATION") != nullptr;
  std::vector<Case> cases = all ? every_combination() : pairwise();
  for (const Case& c : of_whole_gradients(all)) cases.push_back(c);
  for (const Case& c : of_flash(all)) cases.push_back(c);
  return cases;
}

// Refreshes fall on steps 1 and 5, or are spread over the steps between; a run is one interval longer than its first
// step.
constexpr int64_t kInterval = 4;
constexpr int64_t kBatch = 24;

RunOptions options_of(const Case& c, const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.data.validation.clear();
  o.data.sequence_length = 16;
  o.steps = kInterval + 1;
  o.global_batch = kBatch;
  o.micro_batch = kBatch / c.ranks / c.passes;
  o.optimizer.rule = c.rule;
  if (c.flash) o.optimizer.state_type = StateType::kFlash;
  o.optimizer.zero = c.zero;
  o.optimizer.per_layer = c.per_layer;
  o.optimizer.galore->refresh_interval = kInterval;
  o.optimizer.galore->rank = 24;  // so that MLP matrices have 8-bit moments
  o.optimizer.galore->side = c.side;
  if (c.refresh == Refresh::kExact) {
    o.optimizer.galore->refresh = RefreshMethod::kExact;
    o.optimizer.galore->stagger = false;
  }
  if (c.rule == MomentRule::kAdam8bit) o.optimizer.epsilon = 1e-8;
  if (c.rule == MomentRule::kMuon) {
    o.optimizer.momentum = 0.95;
    o.optimizer.galore->moments = MomentsAtRefresh::kRotate;
  }
  if (c.rule == MomentRule::kAdafactor) {
    o.optimizer.epsilon = 1e-30;
    o.optimizer.beta1 = 0;
  }
  if (c.refresh == Refresh::kFullRank) o.optimizer.galore.reset();
  o.optimizer.projection.rank = c.rule == MomentRule::kApolloMini ? 1 : 8;
  o.optimizer.projection.refresh_interval = kInterval;
  if (c.rule == MomentRule::kApolloMini) o.optimizer.projection.scale = 64;
  if (c.rule == MomentRule::kScale) {
    o.model.overrides = {{"tie_word_embeddings", "false"}};
    o.optimizer.learning_rate = 0.003;
  }
  o.checkpoint_folder = absl::StrCat(folder.path(), "/", name_of(c));
  return o;
}

class Zero : public testing::TestWithParam<Case> {};

TEST_P(Zero, ComputesWhatOneRankDoesInTheMemoryAndWithTheBytesOfItsPlan) {
  const Case& c = GetParam();
  TestFolder folder;
  Case alone = c;
  alone.ranks = alone.zero = 1;
  alone.per_layer = false;
  alone.passes = 1;
  std::vector<std::vector<double>> one_rank;
  for (const int passes : {1, 2, 3, 4, 6}) {
    alone.passes = passes;
    RunOptions reordered = options_of(alone, folder);
    const RankOutcome one = run_one(reordered, absl::StrCat(folder.path(), "/one", passes));
    ASSERT_TRUE(one.result.ok()) << one.result.status();
    one_rank.push_back(one.observer.losses());
  }
  RunOptions o = options_of(c, folder);
  o.checkpoint_folder += "-many";
  const std::vector<RankOutcome> many = run_ranks(o, c.ranks, folder.path() + "/many");
  for (const RankOutcome& rank : many) ASSERT_TRUE(rank.result.ok()) << rank.result.status();

  const std::vector<double>& expected = one_rank[0];
  const std::vector<double> losses = many[0].observer.losses();
  ASSERT_EQ(losses.size(), expected.size());
  double tolerance = c.flash || c.rule == MomentRule::kAdam8bit ? kCoded : kReordered;
  for (size_t i = 0; i < losses.size(); ++i) {
    for (const std::vector<double>& other : one_rank)
      tolerance = std::max(tolerance, kReorderings * std::abs(other[i] / expected[i] - 1));
    ASSERT_LT(tolerance, 0.03) << "a comparison that says nothing";
    EXPECT_NEAR(losses[i], expected[i], tolerance * expected[i]) << "step " << i + 1;
  }
  EXPECT_LT(losses.back(), losses.front());

  const absl::StatusOr<ResolvedJob> job = resolve_job(o);
  const absl::StatusOr<EngineShape> shape = engine_shape(o, job->config, c.ranks);
  for (int rank = 0; rank < c.ranks; ++rank) {
    const RecordingObserver& seen = many[rank].observer;
    EXPECT_EQ(seen.losses(), losses) << "rank " << rank;
    const absl::StatusOr<RankEstimate> plan = dry_run(*shape, "cpu", rank, c.ranks);
    ASSERT_TRUE(plan.ok()) << plan.status();
    for (int i = 0; i < kMemoryCategories; ++i) {
      EXPECT_EQ(plan->by_category[i], seen.ledger[i]) << category_name(static_cast<MemoryCategory>(i));
      EXPECT_EQ(seen.lines.back().memory[i], seen.ledger[i]) << "at the end";
    }
    EXPECT_EQ(plan->peak_bytes, seen.ledger_peak);
    SentBytes sent;
    for (size_t i = 1; i < seen.lines.size(); ++i) sent += seen.lines[i].sent;
    SentBytes planned;
    for (int64_t step = 0; step < kInterval; step += plan->interval) {
      planned += plan->sent_refreshes;
      for (int64_t i = plan->refreshing; i < plan->interval; ++i) planned += plan->sent_step;
    }
    EXPECT_EQ(planned, sent) << "steps 2 to " << kInterval + 1 << ", refreshes included";
    // Refresh steps included, a dense gradient of a projected matrix leaves a rank for an exact basis alone.
    int64_t dense = 0;
    for (const StepLine& line : seen.lines) dense += line.sent.of(Content::kProjectedDense);
    EXPECT_EQ(dense > 0, c.refresh == Refresh::kExact && c.ranks > 1);
    // Who holds some rows of the weights alone is sent the others', and needs no updates of matrices.
    EXPECT_EQ(sent.of(Content::kWeight) > 0, c.zero == 3 && c.ranks > 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Pairwise, Zero, testing::ValuesIn(chosen()),
                         [](const auto& test) { return name_of(test.param); });

// A block of 8-bit moments is larger than any matrix: one rank has all of its rows, the others none.
TEST(Zero, MoreRanksThanPiecesComputeTheSame) {
  TestFolder folder;
  for (const int zero : {1, 2, 3}) {
    Case c{4, zero, MomentRule::kAdam8bit, zero == 2, Refresh::kSubspace, 2, ProjectionSide::kStd};
    std::vector<std::vector<double>> losses;
    for (const int ranks : {1, 4}) {
      c.ranks = ranks;
      RunOptions o = options_of(c, folder);
      o.optimizer.block_size = 4096;
      o.checkpoint_folder = absl::StrCat(folder.path(), "/", zero, "-", ranks);
      const std::vector<RankOutcome> run = run_ranks(o, ranks, o.checkpoint_folder + "-out");
      for (const RankOutcome& rank : run) ASSERT_TRUE(rank.result.ok()) << rank.result.status();
      losses.push_back(run[0].observer.losses());
    }
    for (size_t i = 0; i < losses[0].size(); ++i) EXPECT_NEAR(losses[1][i], losses[0][i], kCoded * losses[0][i]);
  }
}

struct Stage {
  int ranks;
  int zero;
};

TEST(Zero, ACheckpointGoesOnUnderAnyStageAndNumberOfRanks) {
  TestFolder folder;
  auto options = [&](const Stage& s, const std::string& checkpoints) {
    Case c{s.ranks, s.zero, MomentRule::kAdafactor, false, Refresh::kSubspace, 1, ProjectionSide::kStd};
    RunOptions o = options_of(c, folder);
    o.optimizer.beta1 = 0.9;
    o.optimizer.galore->refresh_interval = 20;
    o.optimizer.galore->stagger = false;
    o.steps = 8;
    o.schedule_steps = 8;
    o.checkpoint_folder = checkpoints;
    return o;
  };
  for (const Stage& writer : {Stage{3, 3}, Stage{2, 2}, Stage{1, 1}}) {
    const std::string saved = absl::StrCat(folder.path(), "/saved", writer.zero);
    const RunOptions cut = options(writer, saved);
    const std::vector<RankOutcome> first =
        run_ranks(cut, writer.ranks, saved + "-out",
                  [](int, RecordingObserver& observer, RunContext&) { observer.stop_after = 4; });
    ASSERT_TRUE(first[0].result.ok()) << first[0].result.status();
    const std::vector<RankOutcome> all = run_ranks(options(writer, saved + "-whole"), writer.ranks, saved + "-whole");
    ASSERT_TRUE(all[0].result.ok()) << all[0].result.status();
    const std::vector<double> whole = all[0].observer.losses();
    for (const Stage& reader : {Stage{3, 3}, Stage{2, 3}, Stage{2, 2}, Stage{1, 1}}) {
      const std::string copy = absl::StrCat(saved, "-", reader.ranks, "-", reader.zero);
      std::filesystem::copy(saved, copy, std::filesystem::copy_options::recursive);
      const std::vector<RankOutcome> rest = run_ranks(options(reader, copy), reader.ranks, copy + "-out");
      ASSERT_TRUE(rest[0].result.ok()) << rest[0].result.status();
      const std::vector<double> losses = rest[0].observer.losses();
      ASSERT_EQ(losses.size(), 4U);
      const bool same = writer.zero == reader.zero && writer.ranks == reader.ranks;
      for (size_t i = 0; i < 4; ++i) {
        if (same) {
          EXPECT_EQ(losses[i], whole[4 + i]) << "bit for bit";
        } else {
          EXPECT_NEAR(losses[i], whole[4 + i], kReordered * whole[4 + i])
              << "written under " << writer.zero << ", read under " << reader.zero << " by " << reader.ranks;
        }
      }
    }
  }
}

TEST(Zero, BFloat16WithRecomputationAndEvaluationLearnsTheSameUnderEveryStage) {
  TestFolder folder;
  for (const MasterWeights master : {MasterWeights::kNone, MasterWeights::kFp32, MasterWeights::kFp24}) {
    std::vector<double> last;
    for (const int zero : {1, 2, 3}) {
      Case c{3, zero, MomentRule::kAdamW, zero == 2, Refresh::kSubspace, 2, ProjectionSide::kStd};
      RunOptions o = options_of(c, folder);
      o.steps = 30;
      o.data.validation = {folder.write("validation.txt", made_up_text(700, 2))};
      o.evaluate_every = 30;
      o.recompute = true;
      o.weights = {DataType::kBFloat16, master};
      o.optimizer.wire_type = DataType::kBFloat16;
      o.optimizer.accumulate_type = DataType::kBFloat16;
      o.checkpoint_folder = absl::StrCat(folder.path(), "/", zero, static_cast<int>(master));
      const std::vector<RankOutcome> run = run_ranks(o, 3, o.checkpoint_folder + "-out");
      for (const RankOutcome& rank : run) ASSERT_TRUE(rank.result.ok()) << rank.result.status();
      EXPECT_LT(run[0].observer.lines.back().loss, 0.8 * run[0].observer.lines.front().loss);
      last.push_back(run[0].observer.evaluations.back().validation_loss);
    }
    // Roundings to 8 bits fall on other numbers; they hardly show in what is learned.
    EXPECT_NEAR(last[1], last[0], 0.03 * last[0]);
    EXPECT_NEAR(last[2], last[0], 0.03 * last[0]);
  }
}

TEST(Zero, AdaptersAreShardedToo) {
  TestFolder folder;
  auto run = [&](int ranks, int zero) {
    Case c{ranks, zero, MomentRule::kAdamW, false, Refresh::kFullRank, 1, ProjectionSide::kStd};
    RunOptions o = options_of(c, folder);
    o.optimizer.lora = LoraOptions{};
    o.optimizer.lora->rank = 4;
    o.optimizer.lora->dropout = 0.1;
    o.checkpoint_folder = absl::StrCat(folder.path(), "/lora", ranks, zero);
    const std::vector<RankOutcome> outcome = run_ranks(o, ranks, o.checkpoint_folder + "-out");
    EXPECT_TRUE(outcome[0].result.ok()) << outcome[0].result.status();
    return outcome[0].observer.losses();
  };
  const std::vector<double> one = run(1, 1);
  for (const int zero : {2, 3}) {
    const std::vector<double> three = run(3, zero);
    ASSERT_EQ(three.size(), one.size());
    for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(three[i], one[i], kReordered * one[i]);
  }
}

// llama-60m's blocks with a small vocabulary, sixteen micro-batches a step.
RunOptions sixty_million(const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.tokenizer = "";
  o.model.source = "preset:llama-60m";
  o.model.overrides = {{"vocab_size", "4096"}};
  o.data.sequence_length = 64;
  o.global_batch = 16;
  o.micro_batch = 1;
  o.optimizer.galore->rank = 64;
  return o;
}

TEST(Zero, EachRankHoldsItsShareOfMomentsAccumulatorsAndWeights) {
  TestFolder folder;
  const RunOptions o = sixty_million(folder);
  const absl::StatusOr<ResolvedJob> job = resolve_job(o);
  ASSERT_TRUE(job.ok()) << job.status();
  auto held = [&](int rank, int ranks, int zero) {
    RunOptions cut = o;
    cut.optimizer.zero = zero;
    return *dry_run(*engine_shape(cut, job->config, ranks), "cpu", rank, ranks);
  };
  auto bytes = [](const RankEstimate& e, MemoryCategory c) {
    return static_cast<double>(e.by_category[static_cast<int>(c)]);
  };
  const RankEstimate one = held(0, 1, 1);
  for (const int ranks : {2, 4}) {
    for (int rank = 0; rank < ranks; ++rank) {
      const RankEstimate first = held(rank, ranks, 1);
      const RankEstimate second = held(rank, ranks, 2);
      const RankEstimate third = held(rank, ranks, 3);
      for (const RankEstimate* e : {&first, &second, &third}) {
        EXPECT_NEAR(bytes(*e, MemoryCategory::kOptimizerStates), bytes(one, MemoryCategory::kOptimizerStates) / ranks,
                    0.03 * bytes(one, MemoryCategory::kOptimizerStates) / ranks);
        EXPECT_EQ(bytes(*e, MemoryCategory::kSubspaces), bytes(one, MemoryCategory::kSubspaces)) << "replicated";
      }
      // Beside accumulators there are a stage, the embedding's gradient of a micro-batch, and the dense gradients of
      // refreshes; the same under both stages but for the stage.
      EXPECT_LT(bytes(second, MemoryCategory::kGradients), bytes(first, MemoryCategory::kGradients));
      EXPECT_LT(bytes(third, MemoryCategory::kWeights), bytes(first, MemoryCategory::kWeights));
    }
  }
}

TEST(Zero, AccumulatorsBetweenMicroBatchesAreARanksShareFromStageTwoOn) {
  TestFolder folder;
  const RunOptions o = sixty_million(folder);
  const absl::StatusOr<ResolvedJob> job = resolve_job(o);
  ASSERT_TRUE(job.ok()) << job.status();
  // What is kept of each parameter's gradient from one micro-batch to the next, by the ledger's names.
  auto kept = [&](int rank, int ranks, int zero) {
    RunOptions cut = o;
    cut.optimizer.zero = zero;
    const std::unique_ptr<Device> device = make_cpu_device(1);
    const std::unique_ptr<Communicator> communicator = make_planning_communicator(*device, rank, ranks);
    const absl::StatusOr<std::unique_ptr<Engine>> engine =
        Engine::create(*engine_shape(cut, job->config, ranks), *device, *communicator);
    GALLEON_CHECK(engine.ok()) << engine.status().ToString();
    std::map<std::string, int64_t> own;
    std::map<std::string, int64_t> whole;
    for (const Ledger::Entry& entry : device->ledger().entries()) {
      if (absl::EndsWith(entry.name, ".gradient.own")) own[entry.name.substr(0, entry.name.size() - 4)] = entry.bytes;
      if (absl::EndsWith(entry.name, ".gradient")) whole[entry.name] = entry.bytes;
    }
    double bytes = 0;
    for (const auto& [name, all] : whole) bytes += static_cast<double>(own.contains(name) ? own[name] : all);
    return bytes;
  };
  const double alone = kept(0, 1, 1);
  EXPECT_GT(alone, 20e6);
  for (const int ranks : {2, 4}) {
    for (int rank = 0; rank < ranks; ++rank) {
      EXPECT_EQ(kept(rank, ranks, 1), alone);
      for (const int zero : {2, 3}) EXPECT_NEAR(kept(rank, ranks, zero), alone / ranks, 0.03 * alone / ranks) << zero;
    }
  }
}

}  // namespace
}  // namespace galleon
