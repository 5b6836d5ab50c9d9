// What a trainer says of the processor and its libraries, in a process whose environment is chosen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/processor.h"
#include "tests/worker/engine/run_support.h"

namespace galleon {
namespace {

using testing::HasSubstr;
using testing::Not;

// The first line that a run logs; it ends there, since its data do not exist.
std::string first_line(const std::string& environment) {
  TestFolder folder;
  const std::string job = folder.path() + "/job.yaml";
  std::ofstream(job)
      << "{name: told, task: pretrain, model: {source: 'preset:tiny'}, tokenizer: bytes, data: {train: [none.txt]},"
         " training: {steps: 1, global_batch: 1, micro_batch: 1}, resources: {device: cpu}}\n";
  const std::string command =
      absl::StrCat("env -u OPENBLAS_CORETYPE -u OMP_WAIT_POLICY ", environment, " ", GALLEON_BINARY_DIR,
                   "/galleon-trainer --job ", job, " --output ", folder.path(), "/out 2>&1");
  FILE* pipe = ::popen(command.c_str(), "r");
  std::string line;
  std::array<char, 2048> buffer{};
  if (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) line = buffer.data();
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) {
  }
  ::pclose(pipe);
  return line;
}

TEST(Processor, EveryLibraryChoosesAsMuchAsTheProcessorHas) {
  const std::string line = first_line("");
  EXPECT_THAT(line, HasSubstr("processor: "));
  EXPECT_THAT(line, HasSubstr("oneDNN "));
  EXPECT_THAT(line, HasSubstr("OpenBLAS "));
  EXPECT_THAT(line, Not(HasSubstr("too little")));
}

TEST(Processor, ALibraryThatHasChosenLessIsToldOfInTheFirstLine) {
  if (cpu::vector_level() == cpu::VectorLevel::kBaseline) GTEST_SKIP() << "this processor has no less to choose";
  EXPECT_THAT(first_line("OPENBLAS_CORETYPE=Prescott"), HasSubstr("Prescott (too little)"));
  EXPECT_THAT(first_line("ONEDNN_MAX_CPU_ISA=SSE41"), HasSubstr("sse41 (too little)"));
}

// Where OpenBLAS knows the processor, an unset variable stays as it is.
TEST(Processor, AnEmptyVariableIsAsGoodAsNone) {
  EXPECT_THAT(first_line("OPENBLAS_CORETYPE="), Not(HasSubstr("too little")));
}

}  // namespace
}  // namespace galleon
