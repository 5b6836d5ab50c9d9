// The types of numbers that tensors hold.
#pragma once

namespace galleon {

// kUint8 also holds packed codes of fewer bits, kUint16 the scales of codes; what they mean is the operation's
// business.
enum class DataType { kFloat32, kBFloat16, kInt32, kUint8, kUint16 };

}  // namespace galleon
