// What the CPU device computes with: the processor, the instruction set of our own loops, and the libraries with the
// kernels that each has chosen. A library that does not know a processor may choose far less than it has.
#pragma once

#include <string>
#include <vector>

namespace galleon::cpu {

// How far a processor's vectors go, and what comes with them; each has what those before it have.
enum class VectorLevel { kBaseline, kAvx2, kAvx512, kAvx512Bf16, kAmxBf16 };

struct LibraryFacts {
  std::string name;
  std::string version;
  std::string kernels;  // what it has chosen, in its own word
  VectorLevel level = VectorLevel::kBaseline;
  VectorLevel expected = VectorLevel::kBaseline;  // the most that it has for this processor
};

struct ProcessorFacts {
  std::string model;            // such as "AMD EPYC"
  std::string architecture;     // x86_64, aarch64
  std::string instruction_set;  // of our own loops: baseline, avx2, avx512
  VectorLevel level = VectorLevel::kBaseline;
  std::vector<LibraryFacts> libraries;

  // One line for a log.
  std::string line() const;
  // A sentence for each library that has chosen less than the processor has, with what to do.
  std::vector<std::string> warnings() const;
};

std::string level_name(VectorLevel level);
// Of the processor that this runs on, as its own features say.
VectorLevel vector_level();
ProcessorFacts processor_facts();

// The value of OPENBLAS_CORETYPE with which OpenBLAS has the right kernels, which it otherwise chooses by the
// processor's model number. Empty: it has only one kind. It reads that variable when it is loaded, before main.
std::string fitting_openblas_core(VectorLevel level);

// Libraries read some variables when they are loaded, before main. Sets those that are not set by whoever started this
// program (OPENBLAS_CORETYPE where OpenBLAS would choose too little, OMP_WAIT_POLICY), and if any was missing starts
// the program again with the same arguments. The first line of main.
void start_again_for_libraries(char** argv);

}  // namespace galleon::cpu
