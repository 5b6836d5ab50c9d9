#include "worker/engine/data/pair_layout.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

using Json = nlohmann::json;
using Item = PairLayout::Item;

// A file of a tokenizer by its name; null where it has none.
Json file_of(const Tokenizer& tokenizer, absl::string_view name) {
  for (const std::string& path : tokenizer.files()) {
    if (!absl::EndsWith(path, absl::StrCat("/", name)) && path != name) continue;
    const absl::StatusOr<std::string> text = read_to_parse(path);
    if (!text.ok() || nested_too_deeply(*text)) return nullptr;
    Json json = Json::parse(*text, nullptr, false);
    return json.is_object() ? json : Json();
  }
  return nullptr;
}

absl::Status wrong(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("tokenizer: post_processor of tokenizer.json ", what));
}

std::string word(const Json& json, const char* field) {
  const bool there = json.is_object() && json.contains(field) && json[field].is_string();
  return there ? json[field].get<std::string>() : "";
}

// ["[SEP]", 102]
absl::StatusOr<int32_t> named_id(const Json& processor, const char* field) {
  const Json found = processor.value(field, Json());
  if (!found.is_array() || found.size() != 2 || !found[1].is_number_integer())
    return wrong(absl::StrCat("has no token ", field));
  return found[1].get<int32_t>();
}

// The parts of a template, such as {"SpecialToken": {"id": "[CLS]", "type_id": 0}}.
absl::StatusOr<std::vector<Item>> items_of(const Json& processor, const char* field) {
  const Json parts = processor.value(field, Json());
  const Json ids = processor.value("special_tokens", Json::object());
  if (!parts.is_array()) return wrong(absl::StrCat("has no template for a ", field));
  std::vector<Item> items;
  for (const Json& part : parts) {
    const bool special = part.is_object() && part.contains("SpecialToken");
    if (!special && !(part.is_object() && part.contains("Sequence"))) return wrong("has a part that is not known");
    const Json& said = special ? part["SpecialToken"] : part["Sequence"];
    const std::string id = word(said, "id");
    const bool second = said.value("type_id", 0) == 1;
    if (!items.empty() && items.back().second && !second) return wrong("goes back to the first token type");
    if (!special) {
      if (id != "A" && id != "B") return wrong("has a text that is neither A nor B");
      items.push_back({-1, id == "B" ? 1 : 0, second});
      continue;
    }
    if (!ids.is_object() || !ids.contains(id) || !ids[id].value("ids", Json()).is_array())
      return wrong(absl::StrCat("has no ids of ", id));
    for (const Json& one : ids[id]["ids"]) {
      if (!one.is_number_integer()) return wrong(absl::StrCat("has no ids of ", id));
      items.push_back({one.get<int32_t>(), -1, second});
    }
  }
  const auto texts = std::count_if(items.begin(), items.end(), [](const Item& item) { return item.text >= 0; });
  if (texts != (std::string(field) == "pair" ? 2 : 1)) return wrong("does not take each text once");
  return items;
}

absl::StatusOr<std::optional<PairLayout>> of_processor(const Json& processor) {
  if (processor.is_null()) return std::nullopt;
  const std::string type = word(processor, "type");
  if (type == "ByteLevel") return std::nullopt;  // where tokens lie in the text
  if (type == "Sequence") {
    for (const Json& one : processor.value("processors", Json::array())) {
      ASSIGN_OR_RETURN(std::optional<PairLayout> found, of_processor(one));
      if (found.has_value()) return found;
    }
    return std::nullopt;
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    ASSIGN_OR_RETURN(int32_t classify, named_id(processor, "cls"));
    ASSIGN_OR_RETURN(int32_t separator, named_id(processor, "sep"));
    return type == "BertProcessing" ? PairLayout::bert(classify, separator) : PairLayout::roberta(classify, separator);
  }
  if (type != "TemplateProcessing") {
    return wrong(absl::StrCat("is a \"", type,
                              "\"; BertProcessing, RobertaProcessing, TemplateProcessing, ByteLevel and a Sequence of "
                              "them are known"));
  }
  PairLayout layout;
  ASSIGN_OR_RETURN(layout.single, items_of(processor, "single"));
  ASSIGN_OR_RETURN(layout.pair, items_of(processor, "pair"));
  return layout;
}

bool begins_as_bert(const Tokenizer& tokenizer, int32_t classify) {
  const std::string name = word(file_of(tokenizer, "tokenizer_config.json"), "tokenizer_class");
  for (const char* family : {"Roberta", "Camembert", "MPNet", "Longformer"}) {
    if (absl::StartsWith(name, family) || absl::StartsWith(name, absl::StrCat("XLM", family))) return false;
  }
  for (const char* family : {"Bert", "DistilBert", "Electra", "MobileBert", "SqueezeBert", "ConvBert"}) {
    if (absl::StartsWith(name, family)) return true;
  }
  for (const auto& [text, id] : tokenizer.marks()) {
    if (id == classify) return text == "[CLS]";
  }
  return tokenizer.special().begin != classify;
}

}  // namespace

PairLayout PairLayout::bert(int32_t classify, int32_t separator) {
  return {{{classify, -1, false}, {-1, 0, false}, {separator, -1, false}},
          {{classify, -1, false}, {-1, 0, false}, {separator, -1, false}, {-1, 1, true}, {separator, -1, true}}};
}

PairLayout PairLayout::roberta(int32_t begin, int32_t end) {
  return {{{begin, -1, false}, {-1, 0, false}, {end, -1, false}},
          {{begin, -1, false}, {-1, 0, false}, {end, -1, false}, {end, -1, false}, {-1, 1, false}, {end, -1, false}}};
}

namespace {

absl::StatusOr<PairLayout> written_layout(const Tokenizer& tokenizer) {
  const Json json = file_of(tokenizer, "tokenizer.json");
  ASSIGN_OR_RETURN(std::optional<PairLayout> said,
                   of_processor(json.is_object() ? json.value("post_processor", Json()) : Json()));
  if (said.has_value()) return *said;
  const SpecialTokens special = tokenizer.special();
  if (special.classify < 0 || special.separator < 0) {
    return absl::InvalidArgumentError(
        "tokenizer: it has no tokens that begin and end a sentence ([CLS] and [SEP], or <s> and </s>), which task: "
        "classify needs");
  }
  return begins_as_bert(tokenizer, special.classify) ? PairLayout::bert(special.classify, special.separator)
                                                     : PairLayout::roberta(special.classify, special.separator);
}

}  // namespace

absl::StatusOr<PairLayout> pair_layout(const Tokenizer& tokenizer) {
  ASSIGN_OR_RETURN(PairLayout layout, written_layout(tokenizer));
  const Json settings = file_of(tokenizer, "tokenizer_config.json");
  if (!settings.is_object()) return layout;
  if (const Json side = settings.value("truncation_side", Json()); !side.is_null()) {
    if (side != "left" && side != "right")
      return absl::InvalidArgumentError(absl::StrCat("tokenizer: truncation_side ", side.dump(),
                                                     " of tokenizer_config.json is neither \"left\" nor \"right\""));
    layout.cuts_begin = side == "left";
  }
  const Json inputs = settings.value("model_input_names", Json());
  if (inputs.is_array() && std::find(inputs.begin(), inputs.end(), "token_type_ids") == inputs.end()) {
    for (std::vector<Item>* items : {&layout.single, &layout.pair})
      for (Item& item : *items) item.second = false;
  }
  return layout;
}

}  // namespace galleon
