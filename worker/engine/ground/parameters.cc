#include "worker/engine/ground/parameters.h"

#include <algorithm>

#include "kernels/math/mix.h"
#include "kernels/math/split_weight.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/random.h"
#include "kernels/ops/reduction.h"
#include "kernels/ops/weight_update.h"

namespace galleon {

namespace {

constexpr int64_t kDrawnBytes = int64_t{4} << 20;  // of initial weights that exist in fp32 at a time

}  // namespace

bool projects_rows(ProjectionSide side, int64_t out, int64_t in) {
  switch (side) {
    case ProjectionSide::kStd:
      return out < in;
    case ProjectionSide::kReverseStd:
      return out >= in;
    case ProjectionSide::kLeft:
      return true;
    case ProjectionSide::kRight:
    case ProjectionSide::kFull:
      return false;
  }
  return false;
}

void allocate_weights(std::vector<Parameter>& parameters, const WeightStorage& storage, Arena& arena) {
  for (Parameter& p : parameters) {
    if (!p.sharded) p.shard_rows = p.rows();
    p.shard = arena.tensor(p.name, MemoryCategory::kWeights, p.shard_rows, p.columns(), storage.type);
    p.weight = p.sharded ? Tensor{nullptr, storage.type, p.rows(), p.columns(), p.columns()} : p.shard;
    if (storage.master != MasterWeights::kNone && p.trained >= 0 && storage.type != DataType::kFloat32) {
      p.master = arena.tensor(p.name + ".master", MemoryCategory::kWeights, p.shard_rows, p.columns(),
                              storage.master == MasterWeights::kFp24 ? DataType::kUint8 : DataType::kFloat32);
    }
  }
}

std::vector<Parameter> trained_parameters(const std::vector<Parameter>& parameters) {
  std::vector<Parameter> trained;
  for (const Parameter& p : parameters) {
    if (p.trained < 0) continue;
    trained.push_back(p);
    trained.back().index = p.trained;
  }
  return trained;
}

void set_everywhere(const Parameter& p, Device& device, float value) {
  if (p.shard_rows == 0) return;
  fill(device, p.shard, value);
  if (p.master.data == nullptr) return;
  if (p.master.type == DataType::kFloat32) return fill(device, p.master, value);
  GALLEON_CHECK(math::to_float(math::to_bfloat16(value)) == value) << value << " is no bf16 number";
  if (!device.executes()) return;
  const std::vector<uint8_t> nothing_behind(p.master.size());
  device.upload(p.master, nothing_behind.data());
}

void initialize_weights(std::vector<Parameter>& parameters, Device& device, uint64_t seed, double deviation) {
  for (Parameter& p : parameters) {
    if (p.of_adapter) continue;
    if (p.vector) {
      set_everywhere(p, device, p.initial);
      continue;
    }
    // Drawn in pieces of whole rows of the Hugging Face layout.
    const int64_t height = std::clamp<int64_t>(kDrawnBytes / (4 * p.in), 1, p.out);
    const Workspace drawn_memory(device, height * p.in * 4);
    const Workspace turned_memory(device, p.transposed ? height * p.in * 4 : 0);
    for (int64_t begin = 0; begin < p.out; begin += height) {
      const int64_t count = std::min(height, p.out - begin);
      Tensor drawn = drawn_memory.tensor(count, p.in);
      fill_normal(device, drawn, seed, p.index, begin * p.in, 0.0F, static_cast<float>(deviation));
      if (p.transposed) {
        const Tensor turned = turned_memory.tensor(p.in, count);
        transpose(device, drawn, turned);
        drawn = turned;
      }
      // Of the piece, the stored rows that this rank holds.
      if (p.transposed) {
        const Tensor own = drawn.row_range(p.first_row, p.shard_rows);
        const Tensor master = p.master.data != nullptr ? p.master.column_range(begin, count) : Tensor{};
        set_with_master(device, p.shard.column_range(begin, count), master, own);
        continue;
      }
      const int64_t first = std::max(begin, p.first_row);
      const int64_t last = std::min(begin + count, p.first_row + p.shard_rows);
      if (first >= last) continue;
      const Tensor own = drawn.row_range(first - begin, last - first);
      const Tensor master = p.master.data != nullptr ? p.master.row_range(first - p.first_row, last - first) : Tensor{};
      set_with_master(device, p.shard.row_range(first - p.first_row, last - first), master, own);
    }
  }
}

namespace {

// stored: the rows of `shard`.
void upload_weight(const Parameter& p, Device& device, const float* stored) {
  if (p.shard_rows == 0) return;
  if (p.shard.type == DataType::kFloat32) {
    device.upload(p.shard, stored);
    return;
  }
  std::vector<BFloat16> rounded(p.shard.size());
  if (p.master.data != nullptr && p.master.type == DataType::kUint8) {
    std::vector<uint8_t> remainders(rounded.size());
    for (size_t i = 0; i < rounded.size(); ++i) math::split(stored[i], rounded[i], remainders[i]);
    device.upload(p.master, remainders.data());
  } else {
    if (p.master.data != nullptr) device.upload(p.master, stored);
    for (size_t i = 0; i < rounded.size(); ++i) rounded[i] = math::to_bfloat16(stored[i]);
  }
  device.upload(p.shard, rounded.data());
}

std::vector<float> download_weight(const Parameter& p, Device& device) {
  std::vector<float> stored(p.weight.size());
  if (p.weight.type == DataType::kFloat32) {
    device.download(stored.data(), p.weight);
    return stored;
  }
  std::vector<BFloat16> rounded(p.weight.size());
  device.download(rounded.data(), p.weight);
  for (size_t i = 0; i < rounded.size(); ++i) stored[i] = math::to_float(rounded[i]);
  return stored;
}

}  // namespace

void set_weight(const Parameter& p, Device& device, const float* values) {
  if (!p.transposed) {
    upload_weight(p, device, values + p.first_row * p.in);
    return;
  }
  std::vector<float> stored(p.shard_rows * p.out);
  for (int64_t i = 0; i < p.out; ++i) {
    for (int64_t j = 0; j < p.shard_rows; ++j) stored[j * p.out + i] = values[i * p.in + p.first_row + j];
  }
  upload_weight(p, device, stored.data());
}

std::vector<float> get_weight(const Parameter& p, Device& device) {
  GALLEON_CHECK(p.weight.data != nullptr) << p.name << " is not gathered";
  std::vector<float> stored = download_weight(p, device);
  if (!p.transposed) return stored;
  std::vector<float> values(p.out * p.in);
  for (int64_t j = 0; j < p.in; ++j) {
    for (int64_t i = 0; i < p.out; ++i) values[i * p.in + j] = stored[j * p.out + i];
  }
  return values;
}

uint64_t hash_weights(const std::vector<Parameter>& parameters, Device& device, WeightView& weights) {
  uint64_t hash = 0;
  WeightCursor cursor(weights);
  for (const Parameter& p : parameters) {
    cursor.visit(p.index);
    hash = math::mixed_seed(hash, hash_bytes(device, p.weight));
  }
  return hash;
}

}  // namespace galleon
