#include "worker/engine/data/sentencepiece/plugin.h"

#include <sentencepiece_processor.h>

#include <memory>
#include <string>
#include <vector>

struct GalleonSentencePiece {
  sentencepiece::SentencePieceProcessor processor;
};

namespace {

GalleonSentencePiece* open_model(const char* bytes, size_t length) {
  auto model = std::make_unique<GalleonSentencePiece>();
  try {
    if (model->processor.LoadFromSerializedProto({bytes, length}).ok()) return model.release();
  } catch (...) {
    // The library's dictionary throws over pieces that it cannot hold, such as one of a zero byte.
  }
  return nullptr;
}

void encode(const GalleonSentencePiece* model, const char* text, size_t length, void (*take)(void*, const int*, size_t),
            void* context) {
  std::vector<int> ids;
  (void)model->processor.Encode({text, length}, &ids);
  take(context, ids.data(), ids.size());
}

void decode(const GalleonSentencePiece* model, const int* ids, size_t count, void (*take)(void*, const char*, size_t),
            void* context) {
  std::string text;
  (void)model->processor.Decode(std::vector<int>(ids, ids + count), &text);
  take(context, text.data(), text.size());
}

void piece(const GalleonSentencePiece* model, int id, void (*take)(void*, const char*, size_t, bool), void* context) {
  const std::string& text = model->processor.IdToPiece(id);
  take(context, text.data(), text.size(), model->processor.IsControl(id));
}

constexpr GalleonSentencePieceFunctions kFunctions = {
    open_model,
    [](GalleonSentencePiece* model) { delete model; },
    [](const GalleonSentencePiece* model) { return model->processor.GetPieceSize(); },
    [](const GalleonSentencePiece* model) { return model->processor.bos_id(); },
    [](const GalleonSentencePiece* model) { return model->processor.eos_id(); },
    encode,
    decode,
    [](const GalleonSentencePiece* model, int id) { return model->processor.GetScore(id); },
    piece,
};

}  // namespace

__attribute__((visibility("default"))) const GalleonSentencePieceFunctions* galleon_sentencepiece_functions() {
  return &kFunctions;
}
