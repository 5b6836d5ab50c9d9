#include "worker/engine/tracking/metric_scalars.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;

class Reader {
 public:
  explicit Reader(const Json& line) : line_(line) {}
  void take(const char* key, const std::string& name) { take_from(line_, key, name); }
  // Zero is "not yet".
  void take_positive(const char* key, const std::string& name) {
    if (line_.contains(key) && line_[key].is_number() && line_[key].get<double>() > 0) take(key, name);
  }
  void take_from(const Json& object, const char* key, const std::string& name) {
    if (!object.is_object() || !object.contains(key) || !object[key].is_number()) return;
    const auto value = object[key].get<double>();
    if (std::isfinite(value)) scalars_.emplace_back(name, value);
  }
  void add(const std::string& name, double value) { scalars_.emplace_back(name, value); }
  Scalars scalars() { return std::move(scalars_); }

 private:
  const Json& line_;
  Scalars scalars_;
};

void take_memory(const Json& memory, Reader& reader) {
  double total = 0;
  for (const auto& [category, bytes] : memory.items()) {
    if (category == "peak" || !bytes.is_number()) continue;
    total += bytes.get<double>();
    reader.take_from(memory, category.c_str(), absl::StrCat("memory/", category));
  }
  reader.add("memory/total", total);
  reader.take_from(memory, "peak", "memory/peak");
}

Scalars of_evaluation(const Json& line) {
  Reader reader(line);
  reader.take("validation_loss", "validation/loss");
  reader.take("perplexity", "validation/perplexity");
  if (line.contains("metrics") && line["metrics"].is_object()) {
    for (const auto& [name, value] : line["metrics"].items())
      reader.take_from(line["metrics"], name.c_str(), absl::StrCat("validation/", name));
  }
  return reader.scalars();
}

}  // namespace

Scalars scalars_of(const Json& line, bool subspaces) {
  if (line.contains("validation_loss")) return of_evaluation(line);
  Reader reader(line);
  reader.take("loss", "train/loss");
  reader.take("learning_rate", "train/learning_rate");
  if (line.contains("learning_rates") && line["learning_rates"].is_object()) {
    for (const auto& [group, rate] : line["learning_rates"].items())
      reader.take_from(line["learning_rates"], group.c_str(), absl::StrCat("train/learning_rate_", group));
  }
  reader.take("grad_norm", "train/gradient_norm");
  reader.take("tokens", "train/tokens");
  reader.take("tokens_per_second", "throughput/tokens_per_second");
  reader.take("data_wait_seconds", "throughput/data_wait_seconds");
  if (line.contains("memory") && line["memory"].is_object()) take_memory(line["memory"], reader);
  // Of several ranks alone.
  if (line.contains("waited_seconds") && !line["waited_seconds"].empty())
    reader.take("communication_bytes", "ranks/sent_bytes");
  reader.take_positive("bad_rows", "data/bad_rows");
  if (!subspaces) return reader.scalars();
  reader.take("refreshed", "subspaces/refreshed");
  reader.take("skipped_refreshes", "subspaces/skipped_refreshes");
  reader.take("refresh_seconds", "subspaces/refresh_seconds");
  // Zero until a second basis can be compared with a first.
  reader.take_positive("subspace_overlap", "subspaces/overlap");
  reader.take_positive("captured_energy", "subspaces/captured_energy");
  return reader.scalars();
}

}  // namespace galleon
