#include "worker/engine/data/sentencepiece_model.h"

#include <sentencepiece_processor.h>

namespace galleon {

struct SentencePieceModel::Library {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel() : library_(std::make_unique<Library>()) {}
SentencePieceModel::~SentencePieceModel() = default;

bool SentencePieceModel::load(const std::string& path) { return library_->processor.Load(path).ok(); }
int SentencePieceModel::size() const { return library_->processor.GetPieceSize(); }
int SentencePieceModel::begin_token() const { return library_->processor.bos_id(); }
int SentencePieceModel::end_token() const { return library_->processor.eos_id(); }

void SentencePieceModel::encode(const char* text, size_t length, std::vector<int32_t>& ids) const {
  std::vector<int> piece;
  (void)library_->processor.Encode({text, length}, &piece);
  ids.insert(ids.end(), piece.begin(), piece.end());
}

std::string SentencePieceModel::decode(const std::vector<int32_t>& ids) const {
  std::vector<int> known;
  for (const int32_t id : ids) {
    if (id >= 0 && id < size()) known.push_back(id);
  }
  std::string text;
  (void)library_->processor.Decode(known, &text);
  return text;
}

}  // namespace galleon
