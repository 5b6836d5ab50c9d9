// A SentencePiece model, through the library that its plug-in wraps.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

struct GalleonSentencePiece;
struct GalleonSentencePieceFunctions;

namespace galleon {

class SentencePieceModel {
 public:
  // INVALID_ARGUMENT: the file is not a model. UNAVAILABLE: the plug-in cannot be loaded, with what to do.
  static absl::StatusOr<std::unique_ptr<SentencePieceModel>> open(const std::string& path);
  ~SentencePieceModel();
  SentencePieceModel(const SentencePieceModel&) = delete;
  SentencePieceModel& operator=(const SentencePieceModel&) = delete;

  int size() const;
  int begin_token() const;  // -1: none
  int end_token() const;
  void encode(const char* text, size_t length, std::vector<int32_t>& ids) const;  // appends
  struct Piece {
    std::string text;      // spaces as U+2581
    bool control = false;  // it stands for no text (<s>, </s>)
    float score = 0;       // of a byte-pair model its place in the order of merges, negative
  };
  Piece piece(int32_t id) const;
  std::string decode(const std::vector<int32_t>& ids) const;

 private:
  SentencePieceModel(const GalleonSentencePieceFunctions& functions, GalleonSentencePiece* model)
      : functions_(functions), model_(model) {}
  const GalleonSentencePieceFunctions& functions_;
  GalleonSentencePiece* model_;
};

}  // namespace galleon
