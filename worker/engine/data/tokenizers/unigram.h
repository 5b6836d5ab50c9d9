// A unigram language model (Kudo 2018): of all ways to cut a text into pieces of the vocabulary, the most probable.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/data/tokenizers/byte_pair.h"

namespace galleon {

class Unigram {
 public:
  // `pieces`: by id, each with the logarithm of its probability. `unknown`: -1 for none. `byte_fallback`: what no piece
  // covers becomes <0xNN> for each byte, where the vocabulary has them all. INVALID_ARGUMENT: an unknown id beyond it;
  // neither an unknown token nor all bytes.
  static absl::StatusOr<Unigram> create(std::vector<std::pair<std::string, double>> pieces, int32_t unknown,
                                        bool byte_fallback);

  // Appends the ids of one piece of text, valid UTF-8, in a time linear in its length.
  void encode(absl::string_view text, std::vector<int32_t>& ids) const;
  // Appends the text of a piece.
  void decode(int32_t id, std::string& text) const;

 private:
  struct Node {
    double score = 0;
    int64_t begin = -1;
    int32_t id = -1;
  };
  std::vector<Node> best_ends(absl::string_view text) const;
  void append(absl::string_view part, std::vector<int32_t>& ids) const;
  int32_t child(int32_t node, uint8_t byte) const;

  std::vector<std::pair<std::string, double>> pieces_;
  Vocabulary ids_;
  absl::flat_hash_map<uint64_t, int32_t> children_;  // of a node of the trie, by byte
  std::vector<int32_t> first_children_ = std::vector<int32_t>(256, -1);
  std::vector<int32_t> ends_;  // the piece that ends at a node; -1: none
  int32_t unknown_ = -1;
  double unknown_score_ = 0;
  std::vector<int32_t> bytes_;  // empty: no fallback
};

}  // namespace galleon
