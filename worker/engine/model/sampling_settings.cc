#include "worker/engine/model/sampling_settings.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

using Json = nlohmann::json;

// Fields that change a text, with the value at which they do not.
struct Unread {
  const char* field;
  Json neutral;
};

const std::vector<Unread>& unread_fields() {
  static const auto* const fields = new std::vector<Unread>{
      {"num_beams", 1},
      {"num_beam_groups", 1},
      {"min_p", 0},
      {"top_h", 1},
      {"typical_p", 1},
      {"epsilon_cutoff", 0},
      {"eta_cutoff", 0},
      {"diversity_penalty", 0},
      {"encoder_repetition_penalty", 1},
      {"length_penalty", 1},
      {"no_repeat_ngram_size", 0},
      {"encoder_no_repeat_ngram_size", 0},
      {"min_length", 0},
      {"min_new_tokens", 0},
      {"penalty_alpha", 0},
      {"guidance_scale", 1},
      {"bad_words_ids", nullptr},
      {"force_words_ids", nullptr},
      {"forced_bos_token_id", nullptr},
      {"forced_eos_token_id", nullptr},
      {"suppress_tokens", nullptr},
      {"begin_suppress_tokens", nullptr},
      {"sequence_bias", nullptr},
      {"exponential_decay_length_penalty", nullptr},
      {"watermarking_config", nullptr},
      {"stop_strings", nullptr},
      {"dola_layers", nullptr},
      {"constraints", nullptr},
  };
  return *fields;
}

bool says(const Json& json, const char* field) {
  return json.contains(field) && !json[field].is_null();
}

std::string unread(const Json& json) {
  std::vector<std::string> found;
  for (const Unread& one : unread_fields()) {
    if (!says(json, one.field) || json[one.field] == one.neutral) continue;
    const bool empty = json[one.field].is_structured() && json[one.field].empty();
    if (!empty) found.emplace_back(one.field);
  }
  if (found.size() < 2) return absl::StrJoin(found, "");
  const std::string last = found.back();
  found.pop_back();
  return absl::StrCat(absl::StrJoin(found, ", "), " and ", last);
}

// A number from `low` on, and `high` at most.
absl::StatusOr<std::optional<double>> number(const Json& json, const char* field, double low, double high) {
  if (!says(json, field)) return std::nullopt;
  const Json& value = json[field];
  const bool good = value.is_number() && value >= low && value <= high;
  if (good) return value.get<double>();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value.dump()));
}

absl::StatusOr<SamplingSettings> read(const Json& json) {
  SamplingSettings settings;
  constexpr double kMost = 1e9;
  ASSIGN_OR_RETURN(settings.temperature, number(json, "temperature", 0, kMost));
  ASSIGN_OR_RETURN(settings.top_p, number(json, "top_p", 0, 1));
  ASSIGN_OR_RETURN(const std::optional<double> top_k, number(json, "top_k", 0, kMost));
  if (top_k.has_value()) settings.top_k = static_cast<int64_t>(*top_k);
  ASSIGN_OR_RETURN(settings.repetition_penalty, number(json, "repetition_penalty", 1e-3, kMost));
  if (says(json, "do_sample")) {
    if (!json["do_sample"].is_boolean())
      return absl::InvalidArgumentError(absl::StrCat("do_sample is ", json["do_sample"].dump()));
    const bool draws = json["do_sample"].get<bool>();
    settings.temperature = draws ? settings.temperature.value_or(1.0) : 0.0;
    settings.top_p = settings.top_p.value_or(1.0);
    settings.top_k = settings.top_k.value_or(50);
  }
  settings.unread = unread(json);
  return settings;
}

}  // namespace

absl::StatusOr<SamplingSettings> sampling_settings(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / "generation_config.json").string();
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return SamplingSettings();
  ASSIGN_OR_RETURN(const std::string text, read_to_parse(path));
  const Json json = nested_too_deeply(text) ? Json(Json::value_t::discarded) : Json::parse(text, nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, " is not a JSON object"));
  absl::StatusOr<SamplingSettings> settings = read(json);
  if (settings.ok()) return settings;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", settings.status().message(), ", which cannot be"));
}

}  // namespace galleon
