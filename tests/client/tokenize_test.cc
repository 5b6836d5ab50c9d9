// `galleon tokenize`: the same file whatever the number of threads, and progress for people alone.
#include <fcntl.h>
#include <stdlib.h>

#include "tests/client/galleon_program.h"

namespace galleon {
namespace {

using testing::HasSubstr;

class Tokenize : public GalleonProgram {};

TEST_F(Tokenize, WritesTheSameIdsOnAnyNumberOfThreadsAndSaysNothingToAFile) {
  std::vector<std::string> written;
  for (const char* threads : {"1", "3"}) {
    const std::string output = absl::StrCat(folder_, "/", threads, ".tokens");
    const CommandResult result = galleon({"tokenize", "--tokenizer", "bytes", "--input", folder_ + "/text.txt",
                                          "--output", output, "--threads", threads});
    ASSERT_EQ(result.exit.code, 0) << result.err;
    EXPECT_EQ(result.err, "") << "a bar is drawn on terminals alone";
    EXPECT_THAT(result.out, HasSubstr("16 bits each"));
    written.push_back(*read_file(output));
  }
  EXPECT_EQ(written[0], written[1]);
  const std::string text = *read_file(folder_ + "/text.txt");
  ASSERT_EQ(written[0].size(), 2 * (text.size() + 1));
  EXPECT_EQ(written[0].substr(2 * text.size()), std::string("\0\1", 2)) << "the end token";
  for (const auto& entry : std::filesystem::directory_iterator(folder_))
    EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr(".part-"))) << "left behind";
}

TEST_F(Tokenize, DrawsABarOnATerminal) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || ::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0) GTEST_SKIP() << "no terminal can be made";
  ProcessOptions options;
  options.command = {program("galleon"),    "tokenize", "--tokenizer",        "bytes", "--input",
                     folder_ + "/text.txt", "--output", folder_ + "/a.tokens"};
  options.stdout_path = folder_ + "/out.log";
  options.stderr_path = ::ptsname(terminal);
  const int kept_open = ::open(options.stderr_path.c_str(), O_RDWR | O_NOCTTY);
  absl::StatusOr<ProcessId> process = start_process(options);
  ASSERT_TRUE(process.ok()) << process.status();
  process_ = *process;
  EXPECT_EQ(await_end(), 0);
  char said[4096];
  const ssize_t n = ::read(terminal, said, sizeof(said));
  EXPECT_THAT(std::string(said, static_cast<size_t>(std::max<ssize_t>(n, 0))),
              testing::AllOf(HasSubstr("100 %"), HasSubstr("MB/s")));
  ::close(kept_open);
  ::close(terminal);
}

TEST_F(Tokenize, NamesWhatIsWrong) {
  const CommandResult nothing = galleon(
      {"tokenize", "--tokenizer", "bytes", "--input", folder_ + "/none*.txt", "--output", folder_ + "/a.tokens"});
  EXPECT_EQ(nothing.exit.code, 2);
  EXPECT_THAT(nothing.err, HasSubstr("--input: no file matches"));
  const CommandResult whole =
      galleon({"tokenize", "--tokenizer", "bytes", "--input", folder_, "--output", folder_ + "/a.tokens"});
  EXPECT_EQ(whole.exit.code, 2);
  EXPECT_THAT(whole.err, HasSubstr(folder_ + " is a folder; " + folder_ + "/* names its files"));
  ASSERT_TRUE(write_file_atomically(folder_ + "/bad.jsonl", "{\"text\": 1}\n").ok());
  const CommandResult bad = galleon(
      {"tokenize", "--tokenizer", "bytes", "--input", folder_ + "/bad.jsonl", "--output", folder_ + "/a.tokens"});
  EXPECT_EQ(bad.exit.code, 2);
  EXPECT_THAT(bad.err, HasSubstr("bad.jsonl:1: no text field \"text\""));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/a.tokens"));
}

}  // namespace
}  // namespace galleon
