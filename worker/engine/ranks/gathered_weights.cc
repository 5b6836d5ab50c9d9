#include "worker/engine/ranks/gathered_weights.h"

#include <algorithm>
#include <map>

#include "kernels/math/multiples.h"
#include "kernels/ops/activation.h"

namespace galleon {

namespace {

int64_t padded(int64_t bytes) {
  return round_up(bytes, 64);
}

class GatheredWeights final : public WeightView {
 public:
  GatheredWeights(std::vector<Parameter>& parameters, Communicator& communicator, Arena& arena)
      : parameters_(parameters), communicator_(communicator), device_(arena.device()) {
    std::map<int, int> unit_of_block;
    int64_t largest_block = 0;
    int64_t largest_alone = 0;
    unit_of_.assign(parameters.size(), -1);
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& p = parameters[i];
      if (!p.sharded) continue;
      int unit = static_cast<int>(units_.size());
      if (p.block >= 0) unit = unit_of_block.emplace(p.block, unit).first->second;
      if (unit == static_cast<int>(units_.size())) units_.emplace_back();
      unit_of_[i] = unit;
      units_[unit].parameters.push_back(static_cast<int>(i));
      units_[unit].place = p.block >= 0 ? p.block % 2 : 2;
      units_[unit].bytes += padded(p.rows() * p.columns() * bytes_of(p.shard.type));
    }
    for (const Unit& unit : units_) {
      int64_t& largest = unit.place == 2 ? largest_alone : largest_block;
      largest = std::max(largest, unit.bytes);
    }
    const char* names[] = {"gathered block 0", "gathered block 1", "gathered matrix"};
    for (int place = 0; place < 3; ++place) {
      const int64_t bytes = place == 2 ? largest_alone : largest_block;
      places_[place].memory = arena.tensor(names[place], MemoryCategory::kWeights, bytes, 1, DataType::kUint8);
    }
  }

  void acquire(int parameter, int next) override {
    const int unit = unit_of_[parameter];
    if (unit >= 0) {
      begin(unit);
      communicator_.finish_gather(places_[units_[unit].place].gather);
      ++units_[unit].users;
      for (const int i : units_[unit].parameters) parameters_[i].weight.data = place_of(unit, i);
    }
    const int following = next >= 0 ? unit_of_[next] : -1;
    if (following >= 0 && following != unit) {
      const Place& place = places_[units_[following].place];
      const bool free = place.unit < 0 || units_[place.unit].users == 0;
      if (free) begin(following);
    }
  }

  void release(int parameter) override {
    const int unit = unit_of_[parameter];
    if (unit < 0 || --units_[unit].users > 0) return;
    for (const int i : units_[unit].parameters) parameters_[i].weight.data = nullptr;
    // What is gathered again may have changed in between.
    places_[units_[unit].place].unit = -1;
  }

  bool together(int one, int other) const override { return unit_of_[one] == unit_of_[other]; }

 private:
  struct Unit {
    std::vector<int> parameters;
    int64_t bytes = 0;
    int place = 0;
    int users = 0;
  };
  struct Place {
    Tensor memory;
    int unit = -1;  // whose weights lie here or are on their way
    int64_t gather = 0;
  };

  void* place_of(int unit, int parameter) const {
    auto* at = static_cast<char*>(places_[units_[unit].place].memory.data);
    for (const int i : units_[unit].parameters) {
      if (i == parameter) break;
      const Parameter& p = parameters_[i];
      at += padded(p.rows() * p.columns() * bytes_of(p.shard.type));
    }
    return at;
  }

  void begin(int unit) {
    Place& place = places_[units_[unit].place];
    if (place.unit == unit) return;
    GALLEON_CHECK(place.unit < 0 || units_[place.unit].users == 0) << "two blocks of weights want one place";
    place.unit = unit;
    std::vector<ShardedRows> bucket;
    for (const int i : units_[unit].parameters) {
      const Parameter& p = parameters_[i];
      Tensor whole = p.weight;
      whole.data = place_of(unit, i);
      if (p.shard_rows > 0) copy(device_, p.shard, whole.row_range(p.first_row, p.shard_rows));
      bucket.push_back({whole, p.shard_unit, Content::kWeight, p.turn});
    }
    place.gather = communicator_.begin_all_gather_rows(bucket);
  }

  std::vector<Parameter>& parameters_;
  Communicator& communicator_;
  Device& device_;
  std::vector<Unit> units_;
  std::vector<int> unit_of_;  // by parameter; -1: whole on every rank
  Place places_[3];
};

}  // namespace

std::unique_ptr<WeightView> make_weight_view(std::vector<Parameter>& parameters, Communicator& communicator,
                                             Arena& arena) {
  const bool sharded = std::any_of(parameters.begin(), parameters.end(), [](const Parameter& p) { return p.sharded; });
  if (!sharded) return std::make_unique<WholeWeights>();
  return std::make_unique<GatheredWeights>(parameters, communicator, arena);
}

}  // namespace galleon
