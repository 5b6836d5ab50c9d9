// Token caches that jobs share: one makes them, others read, the next goes on after a death, and what nobody uses goes.
#include "worker/engine/data/shared_caches.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "tests/patience.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/token_cache.h"

namespace galleon {
namespace {

namespace fs = std::filesystem;

class SharedCachesTest : public testing::Test {
 protected:
  CorpusRequest request(const std::string& job) {
    CorpusRequest r;
    r.globs = {folder_.path() + "/input/*"};
    r.key = "data.train";
    r.tokenizer = tokenizer_.get();
    r.vocabulary = 257;
    r.options.sequence_length = 8;
    r.folder = absl::StrCat(folder_.path(), "/", job, "/data");
    r.shared = {shared_, int64_t{1} << 30};
    r.name = "train";
    return r;
  }
  std::unique_ptr<Corpus> make(const CorpusRequest& r) {
    absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
    EXPECT_TRUE(corpus.ok()) << corpus.status();
    return corpus.ok() ? *std::move(corpus) : nullptr;
  }
  static std::string text_of(Corpus& corpus) {
    const absl::StatusOr<StoreProgress> all = corpus.wait_for_all();
    EXPECT_TRUE(all.ok()) << all.status();
    std::string text;
    Sequence s;
    for (int64_t i = 0; all.ok() && i < all->sequences; ++i) {
      EXPECT_TRUE(corpus.store().read(i, s).ok());
      for (const int32_t id : s.ids) text.push_back(id == 256 ? '|' : static_cast<char>(id));
    }
    return text;
  }
  // Names of what lies in the shared folder, without their ends.
  std::set<std::string> caches() const {
    std::set<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(shared_)) names.insert(entry.path().stem().string());
    return names;
  }
  std::string only_cache() const {
    EXPECT_EQ(caches().size(), 1U);
    return absl::StrCat(shared_, "/", caches().empty() ? "" : *caches().begin());
  }

  std::string write(const std::string& name, const std::string& content) const {
    EXPECT_TRUE(make_folders(fs::path(folder_.path() + "/" + name).parent_path()).ok());
    return folder_.write(name, content);
  }

  TestFolder folder_;
  const std::string input_ = write("input/a.txt", "the same words for all of them");
  const std::string shared_ = folder_.path() + "/.token-caches";
  std::unique_ptr<Tokenizer> tokenizer_ = *open_tokenizer("bytes");
};

TEST_F(SharedCachesTest, JobsWithTheSameDataHaveOneCacheAndNothingInTheirFolders) {
  const auto first = make(request("one"));
  const std::string text = text_of(*first);
  EXPECT_EQ(text, "the same words for all o");
  const fs::file_time_type made = fs::last_write_time(only_cache() + ".tokens");
  const auto second = make(request("two"));
  EXPECT_EQ(text_of(*second), text);
  EXPECT_EQ(caches().size(), 1U);
  EXPECT_EQ(fs::last_write_time(only_cache() + ".tokens"), made) << "made again";
  EXPECT_FALSE(fs::exists(folder_.path() + "/one/data"));
  EXPECT_FALSE(fs::exists(folder_.path() + "/two/data"));
  // Other ranks find it by what rank 0 says.
  const absl::StatusOr<std::unique_ptr<Corpus>> joined = Corpus::join(request("two"), second->description());
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_EQ(text_of(**joined), text);
  EXPECT_EQ(first->fingerprint(), second->fingerprint());
  EXPECT_EQ((*joined)->fingerprint(), first->fingerprint());
}

TEST_F(SharedCachesTest, DataThatWasChangedOrLiesElsewhereHasItsOwn) {
  text_of(*make(request("one")));
  // As long as before, and as old.
  const fs::file_time_type time = fs::last_write_time(input_);
  folder_.write("input/a.txt", "THE SAME words for all of them");
  fs::last_write_time(input_, time);
  EXPECT_EQ(text_of(*make(request("two"))), "THE SAME words for all o");
  EXPECT_EQ(caches().size(), 2U);
  CorpusRequest elsewhere = request("three");
  elsewhere.globs = {write("other/a.txt", "THE SAME words for all of them")};
  EXPECT_EQ(text_of(*make(elsewhere)), "THE SAME words for all o");
  EXPECT_EQ(caches().size(), 3U);
}

TEST_F(SharedCachesTest, WhatAnEarlierVersionLeftInTheJobsFolderGoes) {
  CorpusRequest own = request("one");
  own.shared = {};
  text_of(*make(own));
  EXPECT_FALSE(fs::is_empty(folder_.path() + "/one/data"));
  text_of(*make(request("one")));
  EXPECT_TRUE(fs::is_empty(folder_.path() + "/one/data"));
}

TEST_F(SharedCachesTest, AFolderThatCannotBeSharedLeavesEachJobItsOwn) {
  folder_.write("file", "");
  CorpusRequest r = request("one");
  r.shared.folder = folder_.path() + "/file/below";
  EXPECT_EQ(text_of(*make(r)), "the same words for all o");
  EXPECT_FALSE(fs::is_empty(folder_.path() + "/one/data"));
}

TEST_F(SharedCachesTest, WhoFollowsGoesOnWhenTheOneThatMakesItDies) {
  text_of(*make(request("first")));
  const std::string base = only_cache();
  CacheIndex begun = *CacheIndex::read(base);
  begun.complete = false;
  begun.tokens = begun.tokens_of_files = begun.files_done = 0;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t maker = ::fork();
  ASSERT_GE(maker, 0);
  if (maker == 0) {
    const auto hold = CacheHold::take(shared_, fs::path(base).filename());
    if (hold.ok() && (*hold)->make() && begun.write(base).ok()) (void)!::write(ready[1], "x", 1);
    while (true) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const auto follower = make(request("two"));
  ASSERT_NE(follower, nullptr);
  const absl::StatusOr<StoreProgress> before = follower->store().wait_for(1, absl::Milliseconds(200));
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(before->sequences, 0) << "two processes make one cache";
  ::kill(maker, SIGKILL);
  ::waitpid(maker, nullptr, 0);
  EXPECT_EQ(text_of(*follower), "the same words for all o");
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(SharedCachesTest, AFailureThatAnotherJobLeftIsNotThisOnes) {
  text_of(*make(request("first")));
  CacheIndex failed = *CacheIndex::read(only_cache());
  failed.complete = false;
  failed.error = "data.train: no space left";
  failed.error_code = static_cast<int>(absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(failed.write(only_cache()).ok());
  EXPECT_EQ(text_of(*make(request("two"))), "the same words for all o");
}

TEST_F(SharedCachesTest, WhatIsUnusedForLongestGoesFirstAndWhatIsHeldStays) {
  for (const char* name : {"old", "held", "young"}) {
    write(absl::StrCat(".token-caches/", name, ".tokens"), std::string(100'000, 'x'));
    write(absl::StrCat(".token-caches/", name, ".json"), "{}");
  }
  auto held = *CacheHold::take(shared_, "held");
  const auto age = [&](const std::string& name, int hours) {
    for (const fs::directory_entry& entry : fs::directory_iterator(shared_)) {
      if (entry.path().stem() == name)
        fs::last_write_time(entry.path(), fs::file_time_type::clock::now() - std::chrono::hours(hours));
    }
  };
  age("old", 3);
  age("held", 9);
  age("young", 1);
  EXPECT_EQ(*trim({shared_, 1'000'000}), 0);
  EXPECT_EQ(*trim({shared_, 250'000}), 1);
  EXPECT_EQ(caches(), (std::set<std::string>{"held", "young"}));
  EXPECT_EQ(*trim({shared_, 0}), 1);
  EXPECT_EQ(caches(), std::set<std::string>{"held"});
  held.reset();
  EXPECT_EQ(*trim({shared_, 0}), 1);
  EXPECT_TRUE(fs::is_empty(shared_));
  EXPECT_EQ(*trim({folder_.path() + "/none", 0}), 0);
}

// Two processes that remove all they can, against one that uses a cache again and again.
TEST_F(SharedCachesTest, NothingIsRemovedUnderWhoHoldsIt) {
  std::vector<pid_t> trimmers;
  for (int i = 0; i < 2; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      while (true) (void)trim({shared_, 0});
    }
    trimmers.push_back(child);
  }
  int lost = 0;
  int made = 0;
  // Until something was removed in between: on a busy machine the others may not run for long.
  const absl::Time latest = absl::Now() + kPatience;
  for (int i = 0; i < 2'000 || (made <= 1 && absl::Now() < latest); ++i) {
    auto hold = CacheHold::take(shared_, "busy");
    ASSERT_TRUE(hold.ok()) << hold.status();
    const std::string file = shared_ + "/busy.json";
    if (!fs::exists(file)) {
      ASSERT_TRUE(write_file_atomically(file, "{}").ok());
      ++made;
    }
    if (i % 10 == 0) absl::SleepFor(absl::Microseconds(300));
    if (!fs::exists(file)) ++lost;
  }
  for (const pid_t child : trimmers) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  EXPECT_EQ(lost, 0);
  EXPECT_GT(made, 1) << "nothing was ever removed, so this has shown nothing";
}

}  // namespace
}  // namespace galleon
