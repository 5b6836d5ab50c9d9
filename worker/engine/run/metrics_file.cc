#include "worker/engine/run/metrics_file.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"
#include "common/base/append_file.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;

}  // namespace

double EvaluationLine::perplexity() const {
  return std::exp(validation_loss);
}

absl::StatusOr<MetricsFile> MetricsFile::open(const std::string& path, int64_t step, Clock clock) {
  std::error_code error;
  std::string kept;
  if (step > 0 && std::filesystem::exists(path, error)) {
    absl::StatusOr<std::string> content = read_file(path);
    if (!content.ok()) return content.status();
    for (absl::string_view line : absl::StrSplit(*content, '\n', absl::SkipEmpty())) {
      const Json json = Json::parse(line.begin(), line.end(), nullptr, false);
      // A line that was cut off by the end of its writer is dropped too.
      if (json.is_discarded() || !json.is_object() || json.value("step", int64_t{0}) > step) continue;
      kept.append(line.data(), line.size());
      kept.push_back('\n');
    }
  }
  RETURN_IF_ERROR(write_file_atomically(path, kept));
  return MetricsFile(path, std::move(clock));
}

absl::Status MetricsFile::append_line(nlohmann::ordered_json line) {
  line["time"] = static_cast<double>(absl::ToUnixMillis(clock_())) / 1000;
  return append_file(path_, line.dump() + "\n");
}

absl::Status MetricsFile::append(const StepLine& line) {
  return append_line(metrics_json(line));
}

absl::Status MetricsFile::append(const EvaluationLine& line) {
  return append_line(metrics_json(line));
}

Json metrics_json(const StepLine& line) {
  Json memory = Json::object();
  for (int i = 0; i < kMemoryCategories; ++i) {
    const absl::string_view name = category_name(static_cast<MemoryCategory>(i));
    memory[std::string(name.data(), name.size())] = line.memory[i];
  }
  memory["peak"] = line.memory_peak;
  Json communication = Json::object();
  auto text = [](absl::string_view name) { return std::string(name.data(), name.size()); };
  for (int i = 0; i < kCollectives; ++i) {
    const auto collective = static_cast<Collective>(i);
    communication[text(collective_name(collective))] = line.sent.of(collective);
  }
  communication["dense_equivalent"] = line.dense_bytes;
  for (int i = 0; i < kContents; ++i) {
    const auto content = static_cast<Content>(i);
    communication["carries"][text(content_name(content))] = line.sent.of(content);
  }
  const auto least = std::min_element(line.waited_seconds.begin(), line.waited_seconds.end());
  const int64_t slowest = line.waited_seconds.empty() ? -1 : least - line.waited_seconds.begin();
  Json json = {{"step", line.step},
               {"loss", line.loss},
               {"learning_rate", line.learning_rate},
               {"grad_norm", line.grad_norm},
               {"tokens", line.tokens},
               {"seconds", line.seconds},
               {"tokens_per_second", line.tokens_per_second},
               {"memory", memory},
               {"communication_bytes", line.sent.total()},
               {"communication", communication},
               {"waited_seconds", line.waited_seconds},
               {"slowest_rank", slowest >= 0 ? Json(slowest) : Json()},
               {"refresh_seconds", line.refresh_seconds},
               {"subspace_overlap", line.subspace_overlap},
               {"captured_energy", line.captured_energy},
               {"refreshed", line.refreshed},
               {"skipped_refreshes", line.skipped_refreshes},
               {"data_wait_seconds", line.data_wait_seconds},
               {"bad_rows", line.bad_rows}};
  for (const auto& [group, rate] : line.rates) json["learning_rates"][group] = rate;
  return json;
}

Json metrics_json(const EvaluationLine& line) {
  Json json = {{"step", line.step},
               {"validation_loss", line.validation_loss},
               {"validation_tokens", line.validation_tokens},
               {"perplexity", line.perplexity()},
               {"metrics", line.metrics.empty() ? Json::object() : Json(line.metrics)}};
  return json;
}

}  // namespace galleon
