// Messages from elsewhere that are passed on or kept.
#pragma once

#include <google/protobuf/message.h>

#include <cstddef>

namespace galleon {

// Shortens every text of the message and of those in it to `longest` bytes (bounded_text), and lists to 4,096 elements.
void bound_texts(google::protobuf::Message& message, size_t longest);

// The same, of texts beyond kLongestText; while the message has more than `bytes`, with shorter and shorter texts and
// lists, down to 128 bytes and 64 elements: what it then has is bounded by its kind.
void shrink_message(google::protobuf::Message& message, size_t bytes);

}  // namespace galleon
