// What the plug-in around the SentencePiece library offers. That library carries a protobuf of its own whose symbols
// bear the names of the real one; the plug-in is loaded with its symbols bound to itself, so that the two never meet.
// Plain C types only.
#pragma once

#include <stddef.h>
#include <stdint.h>

extern "C" {

struct GalleonSentencePiece;

struct GalleonSentencePieceFunctions {
  GalleonSentencePiece* (*open)(const char* bytes, size_t length);  // null: not a model
  void (*close)(GalleonSentencePiece* model);
  int (*size)(const GalleonSentencePiece* model);
  int (*begin_token)(const GalleonSentencePiece* model);
  int (*end_token)(const GalleonSentencePiece* model);
  // Calls `take` once with the result, valid during the call.
  void (*encode)(const GalleonSentencePiece* model, const char* text, size_t length,
                 void (*take)(void* context, const int* ids, size_t count), void* context);
  void (*decode)(const GalleonSentencePiece* model, const int* ids, size_t count,
                 void (*take)(void* context, const char* text, size_t length), void* context);
  float (*score)(const GalleonSentencePiece* model, int id);
  // Calls `take` with the piece as the model writes it; `control`: it stands for no text (<s>, </s>).
  void (*piece)(const GalleonSentencePiece* model, int id,
                void (*take)(void* context, const char* text, size_t length, bool control), void* context);
};

// The one symbol that the plug-in shows.
const GalleonSentencePieceFunctions* galleon_sentencepiece_functions();
}
