// What the readers and writers of config.json share: its fields, one by one, with the first error kept.
#pragma once

#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "worker/engine/model/model_config.h"

namespace galleon {

// Reads fields one by one and keeps the first error.
class ConfigFields {
 public:
  ConfigFields(const nlohmann::json& json, absl::string_view where) : json_(json), where_(where) {}

  const absl::Status& status() const { return status_; }
  // Present, and not null.
  bool given(const char* field) const { return json_.contains(field) && !json_[field].is_null(); }

  void refuse(absl::string_view field, absl::string_view what) {
    status_.Update(absl::InvalidArgumentError(absl::StrCat(where_, ": ", field, " ", what)));
  }
  void refuse_unless(bool fine, absl::string_view field, absl::string_view what) {
    if (!fine) refuse(field, what);
  }
  void require(const char* field) { refuse_unless(given(field), field, "is missing"); }
  void integer(const char* field, int64_t least, int64_t& value, int64_t most = int64_t{1} << 31) {
    if (!given(field)) return;
    const nlohmann::json& found = json_[field];
    // Unsigned first: what is beyond 2^63 - 1 would become negative.
    if (found.is_number_unsigned() ? found.get<uint64_t>() > static_cast<uint64_t>(most)
                                   : found.is_number_integer() && found.get<int64_t>() > most) {
      refuse(field, absl::StrCat("must be at most ", most));
    } else if (found.is_number_integer() && found.get<int64_t>() >= least) {
      value = found.get<int64_t>();
    } else {
      refuse(field, absl::StrCat("must be an integer of at least ", least));
    }
  }
  void positive(const char* field, double& value) {
    if (!given(field)) return;
    if (json_[field].is_number() && json_[field].get<double>() > 0 && std::isfinite(json_[field].get<double>())) {
      value = json_[field].get<double>();
    } else {
      refuse(field, "must be a number above 0");
    }
  }
  void probability(const char* field, double& value) {
    if (!given(field)) return;
    if (json_[field].is_number() && json_[field].get<double>() >= 0 && json_[field].get<double>() < 1) {
      value = json_[field].get<double>();
    } else {
      refuse(field, "must be a number from 0 to below 1");
    }
  }
  void boolean(const char* field, bool& value) {
    if (!given(field)) return;
    if (json_[field].is_boolean()) {
      value = json_[field].get<bool>();
    } else {
      refuse(field, "must be true or false");
    }
  }
  std::string word(const char* field, const std::string& otherwise) {
    if (!given(field)) return otherwise;
    if (json_[field].is_string()) return json_[field].get<std::string>();
    refuse(field, "must be a word");
    return otherwise;
  }
  // A token id may be a number, a list of them (the first counts) or null.
  int64_t token(const char* field, int64_t otherwise) const {
    if (!json_.contains(field)) return otherwise;
    const nlohmann::json* found = &json_[field];
    if (found->is_array() && !found->empty()) found = &found->front();
    const bool sound = found->is_number_integer() && found->get<int64_t>() >= 0;
    return sound ? found->get<int64_t>() : -1;
  }
  // ConfigFields that mean another network unless they have the value under which they mean nothing.
  void only_if_idle(std::initializer_list<const char*> fields) {
    for (const char* field : fields) {
      if (!given(field)) continue;
      const nlohmann::json& v = json_[field];
      const bool idle = (v.is_boolean() && !v.get<bool>()) || (v.is_number() && v.get<double>() == 0) ||
                        ((v.is_array() || v.is_object() || v.is_string()) && v.empty());
      refuse_unless(idle, field, absl::StrCat(v.dump(), " is not available in this version; available: null"));
    }
  }
  const nlohmann::json& json() const { return json_; }
  absl::string_view where() const { return where_; }

 private:
  const nlohmann::json& json_;
  absl::string_view where_;
  absl::Status status_;
};

// The part that decoders or encoders have of their own; `architecture` and the shared fields of `config` are set.
void read_decoder(ConfigFields& fields, ModelConfig& config);
void read_encoder(ConfigFields& fields, ModelConfig& config);
void decoder_to_json(const ModelConfig& config, nlohmann::json& json);
void encoder_to_json(const ModelConfig& config, nlohmann::json& json);

}  // namespace galleon
