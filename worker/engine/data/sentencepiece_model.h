// SentencePiece behind a wall: its header declares names in Abseil's namespace, so it is included in one file that uses no Abseil.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace galleon {

class SentencePieceModel {
 public:
  SentencePieceModel();
  ~SentencePieceModel();
  // False: not a model.
  bool load(const std::string& path);
  int size() const;
  int begin_token() const;  // -1: none
  int end_token() const;
  void encode(const char* text, size_t length, std::vector<int32_t>& ids) const;  // appends
  std::string decode(const std::vector<int32_t>& ids) const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

}  // namespace galleon
