// Every operation at the sizes of llama-60m with 4,096 tokens, in fp32 and where it takes it in bf16, and attention
// over longer sequences and wider heads.
#include <functional>
#include <string>

#include "tests/bench/kernels/operands.h"
#include "tests/kernels/cases/attention.h"
#include "tests/kernels/cases/case.h"

namespace galleon {
namespace {

ModelSizes llama_60m() {
  ModelSizes sizes;
  sizes.sequence = 256;
  sizes.hidden = 512;
  sizes.mlp = 1376;
  sizes.logit_rows = 512;
  sizes.rank = 128;
  sizes.state_rows = 16000;
  sizes.summed_rows = 16000;
  return sizes;
}

using Make = std::function<CaseList()>;

// Cases are made when their benchmark runs: a list holds shapes alone, no memory.
void register_cases(const Make& make, const std::string& suffix, DataType type) {
  const CaseList list = make();
  for (size_t i = 0; i < list.size(); ++i) {
    if (type == DataType::kBFloat16 && !list[i]->takes_bfloat16()) continue;
    const std::string name = list[i]->name() + suffix + (type == DataType::kBFloat16 ? "/bf16" : "/fp32");
    benchmark::RegisterBenchmark(name.c_str(),
                                 [=](benchmark::State& state) {
                                   const CaseList own = make();
                                   Bench bench;
                                   const DrawnOperands operands(*bench.device, *own[i], type);
                                   bench.run(state, [&] { own[i]->run(*bench.device, operands.tensors()); });
                                 })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

void register_attention(const AttentionShape& shape) {
  const Make make = [=] {
    CaseList list;
    list.push_back(attention_case(shape));
    list.push_back(attention_backward_case(shape));
    return list;
  };
  const std::string suffix =
      "/positions:" + std::to_string(shape.sequence) + "/dimension:" + std::to_string(shape.head_dimension) +
      "/group:" + std::to_string(shape.heads / shape.key_value_heads) + (shape.causal ? "/causal" : "/every_key");
  register_cases(make, suffix, DataType::kBFloat16);
}

// Losses and embeddings over so many words: few of them make long sums, each in one order.
void register_vocabulary(int64_t vocabulary) {
  const Make make = [=] {
    ModelSizes sizes = llama_60m();
    sizes.vocabulary = vocabulary;
    sizes.logit_rows = 256;
    CaseList list;
    add_losses_of_model(sizes, list);
    return list;
  };
  register_cases(make, "/vocabulary:" + std::to_string(vocabulary), DataType::kBFloat16);
}

[[maybe_unused]] const bool registered = [] {
  for (const DataType type : {DataType::kFloat32, DataType::kBFloat16})
    register_cases([] { return model_cases(llama_60m()); }, "", type);
  for (const AttentionShape& shape : {AttentionShape{1, 1024, 4, 4, 128},
                                      {1, 2048, 4, 4, 128},
                                      {1, 4096, 4, 4, 128},
                                      {1, 4096, 4, 4, 128, false},
                                      {1, 2048, 4, 1, 128},
                                      {1, 2048, 4, 4, 64}})
    register_attention(shape);
  for (const int64_t vocabulary : {16, 128256}) register_vocabulary(vocabulary);
  return true;
}();

}  // namespace
}  // namespace galleon
