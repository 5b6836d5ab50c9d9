// A classification that a tiny encoder learns: which sentences of letters hold a q.
#pragma once

#include "tests/worker/engine/run_support.h"

namespace galleon {

// A folder with a small BERT's configuration and a vocabulary of letters; weights begin at random.
inline std::string letters_model(const TestFolder& folder, double dropout = 0.0) {
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (char c = 'a'; c <= 'z'; ++c) vocabulary += std::string(1, c) + "\n";
  EXPECT_TRUE(make_folders(folder.path() + "/model").ok());
  folder.write("model/vocab.txt", vocabulary);
  folder.write("model/config.json",
               absl::StrCat(R"({"model_type": "bert", "vocab_size": 31, "hidden_size": 32, "intermediate_size": 48,
                   "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32,
                   "hidden_dropout_prob": )",
                            dropout, R"(, "attention_probs_dropout_prob": )", dropout, "}"));
  return folder.path() + "/model";
}

// Whether the letter q is in the sentence.
inline std::string labelled_letters(int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text = "sentence\tlabel\n";
  for (int i = 0; i < count; ++i) {
    const bool has = random() % 2 == 0;
    const auto length = static_cast<int>(3 + random() % 9);
    const auto place = static_cast<int>(random() % static_cast<uint64_t>(length));
    for (int j = 0; j < length; ++j) {
      const char other = static_cast<char>('a' + random() % 16);
      text += std::string(1, has && j == place ? 'q' : other) + " ";
    }
    text += has ? "\t1\n" : "\t0\n";
  }
  return text;
}

inline RunOptions classification(const TestFolder& folder) {
  RunOptions o = tiny_run(folder);
  o.model.source = o.tokenizer = letters_model(folder);
  o.data.classify = true;
  o.data.format = "tsv";
  o.data.glue_task = "sst2";
  o.data.train = {folder.write("train.tsv", labelled_letters(400, 1))};
  o.data.validation = {folder.write("dev.tsv", labelled_letters(103, 2))};
  o.data.sequence_length = 16;
  o.optimizer.learning_rate = 0.003;
  o.optimizer.galore->rank = 4;
  o.global_batch = 16;
  o.micro_batch = 8;
  o.steps = 150;
  o.evaluate_every = 150;
  return o;
}

}  // namespace galleon
